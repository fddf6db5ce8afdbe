import time
from tests.security.page_forms import *
from tests.security.pages import *
async def test_probe(town):
    t=time.monotonic()
    for r in routes(town.world.made):
        d=door_of(r)
        if r.method=="GET" and d.kind!="stream" and "leave" not in r.path:
            for p in town.paths(r):
                a=await town.guests[d.who].get(p)
                bad=[]
                try: page(a, part=d.kind=='part')
                except AssertionError as e: bad=str(e)[:200]
                print(a.status_code, p, a.headers.get("location"), bad)
    print("TIME", time.monotonic()-t)
    a=await town.guests["sender"].get("/referral/pages"); print("HOME", a.status_code)
