import pytest
from tests.browser.conftest import *
from tests.conftest import *
from tests.browser.tour import Tour, _met_stops
from tests.browser.test_accessibility import faults
from tests.browser.visiting import at_browser, signed_in
from schemas.vocabulary import StaffRole
async def test_mine(world, browser):
    t=Tour(world); t.cookies["sender"]=await signed_in(world.made, world.sender, StaffRole.SENDER)
    await world.house("Lotus House", 4); await world.house("River Clinic",2,kind="clinic",service="emergency_care")
    await _met_stops(t)
    wrong={}
    for lang,width in (("km",320),("km",1280)):
        async with at_browser(browser, world.made, t.cookies["sender"], width=width, language=lang) as page:
            for s in t.stops:
                r=await page.goto(s.path)
                if r.status>=400: wrong[s.name+str(r.status)]=[s.path]
                if said:=await faults(page,narrow=True): wrong[f"{s.name} {lang} {width}"]=said
                await page.screenshot(path=f"/tmp/shots_entry/T-{s.name}-{lang}-{width}.png",full_page=True)
    for k,v in wrong.items(): print(k,v)
    assert not wrong
