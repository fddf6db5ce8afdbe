from __future__ import annotations
import pytest
from axe_playwright_python.async_playwright import Axe
from schemas.vocabulary import StaffRole
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from services.referral.sessions import handlers as sessions
from spean.web.visitor import COOKIE
from tests.browser.visiting import at_browser
from tests.integration.staff import PASSWORD, desk_of, hired, invited, member, new_address
import os
LANG = os.environ.get("SHOT_LANG", "en")

@pytest.mark.parametrize("width", [320, 1280])
async def test_shots(world, browser, width):
    made = world.made
    desk = desk_of(made)
    who = await member(made, world.coordinator.id, StaffRole.ADMINISTRATOR, StaffRole.RECEIVER)
    lost = await member(made, world.sender.id)
    me2 = await member(made, world.coordinator.id, StaffRole.ADMINISTRATOR)
    await sessions.ask_recovery(desk, lost.person.sign_in_name, address=new_address())
    await sessions.ask_recovery(desk, who.person.sign_in_name, address=new_address())
    person = await hired(made, world.sender.id)
    setup = await invited(made, person)
    sample = await hired(made, world.sender.id)
    async with desk.db.transaction("t") as tx:
        link = await people.sign_in_link(tx, OPERATOR, sample.sign_in_name)
    found = {}
    origin = desk.origins[0]
    async with at_browser(browser, made, None, width=width, language=LANG) as page:
        async def shot(name):
            await page.screenshot(path=f"/tmp/shots/{LANG}-{width}-{name}.png", full_page=True)
            result = await Axe().run(page)
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found[name] = [v["id"] + ": " + v["nodes"][0]["html"][:120] for v in result.response["violations"]] + ([f"WIDE {wide}"] if wide > 0 else [])
        await page.goto(f"{origin}/referral/pages/sign-in"); await shot("sign-in")
        await page.get_by_role("textbox").nth(0).fill(who.person.sign_in_name)
        await page.locator("#password").fill("wrong")
        await page.locator("button.go").click(); await page.wait_for_load_state(); await shot("sign-in-wrong")
        await page.locator("#password").fill(PASSWORD)
        await page.locator("button.go").click(); await page.wait_for_url("**/code"); await shot("code")
        await page.locator("#code").fill("123"); await page.locator("button.go").click(); await page.wait_for_load_state(); await shot("code-wrong")
        await page.goto(f"{origin}/referral/pages/set-up/{setup}"); await shot("set-up")
        await page.locator("#password").fill("short"); await page.locator("#password_again").fill("short"); await page.locator("#code").fill("1")
        await page.locator("button.go").click(); await page.wait_for_load_state(); await shot("set-up-wrong")
        await page.goto(f"{made.url}/referral/pages/sign-in"); await shot("sign-in-number")
        await page.goto(f"{origin}/referral/pages/link/{link}"); await shot("link")
        await page.goto(f"{origin}/referral/pages/link/{'x'*43}"); await shot("link-gone")
        await page.goto(f"{origin}/referral/pages/lost"); await shot("lost")
        await page.goto(f"{origin}/referral/pages/lost?asked=1"); await shot("lost-asked")
        await page.goto(f"{origin}/referral/pages/signed-out"); await shot("signed-out")
        opened = await who.signs_in()
        await who.signs_in()
        await page.context.add_cookies([{"name": COOKIE, "value": opened.cookie, "url": origin.replace("http:", "https:"), "secure": True, "httpOnly": True, "sameSite": "Lax"}])
        await page.goto(f"{origin}/referral/pages/account"); await shot("account")
        await page.goto(f"{origin}/referral/pages/account/password"); await shot("password")
        await page.goto(f"{origin}/referral/pages/recoveries"); await shot("recoveries")
        await page.goto(f"{origin}/referral/pages/account")
        await page.locator("form[action$='authenticator/new'] button").click(); await page.wait_for_load_state(); await shot("authenticator")
        async with desk.db.transaction("t") as tx:
            from services.referral.people import store
            rec = next(r for r, p, _ in await store.recoveries(tx, 1000) if p.id == lost.id)
            await people.approve_recovery(tx, desk.sealing, me2.by, rec.id)
        await page.goto(f"{origin}/referral/pages/recoveries"); await shot("recoveries-second")
        await page.locator(f"form[action$='{rec.id}/approve'] button").click(); await page.wait_for_load_state(); await shot("recovered")
    print(found)
    assert not any(found.values()), found
