"""The main line by clicking: what each of its people does, page after page. Nothing here asks the API."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.hands import Hands

INBOX = "/referral/pages/inbox"
TOLD = ("functional_needs", "identity", "contact", "safety", "placement")


# --- the border post --------------------------------------------------------------------------------------------------


async def meets_somebody(worker: Hands, *, area: str = "KH-1", **person: str) -> str:
    """An entry in three steps. Returns its id."""
    await worker.follow("/intake/pages/entries/new")
    await worker.tick("channel", "border_post")
    await worker.choose("area", area)
    await worker.press("/entries/new")
    await says_what_is_needed(worker, **person)
    await worker.press("/check")
    return worker.path.rsplit("/", 1)[1]


async def says_what_is_needed(worker: Hands, *, age: str = "24", sex: str = "female", language: str = "khm") -> None:
    await worker.write("age_years", age)
    await worker.tick("sex", sex)
    await worker.tick("languages", language)
    await worker.press("/needs")


async def talks_consent_through(worker: Hands, *, classes: str = "shelter KH") -> None:
    """From the person's page to what they decided and back. The worker's own organisation, the first by name, may know how
    it goes on."""
    await worker.press("/consent")
    await worker.choose("language", "khm")
    await worker.tick("interpreter", "no")
    await worker.press("/language")
    await worker.press("/notice")
    await worker.press("/help", "help", "yes")
    await worker.press("/share", "share", "yes")
    await worker.tick("categories", *TOLD)
    await worker.press("/what")
    await worker.tick("purposes", "referral", "service_provision", "follow_up")
    await worker.press("/why")
    await worker.tick("classes", classes)
    us = await worker.page.locator('input[name="organisations"]').first.input_value()
    await worker.tick("organisations", us)
    await worker.press("/whom")
    await worker.press("/never")
    await worker.tick("until", "30-days")
    await worker.press("/until")
    await worker.tick("expressed", "spoken")
    await worker.press("/how")
    await worker.press("/check")


async def asks_for_a_bed(worker: Hands, *, urgency: str = "emergency") -> str:
    """From the person's page. Returns the hand-off's id."""
    if await worker.form("/case").count():
        await worker.press("/case")
    await worker.follow("/handoff")
    await worker.choose("service_type", "emergency_bed")
    await worker.tick("urgency", urgency)
    await worker.press("/handoff", "step", "check")
    await worker.press("/handoff", "step", "send")
    return worker.path.rsplit("/", 1)[1]


async def sees(worker: Hands, handoff: str, what: str, *, among: str = "?show=open") -> None:
    """Opens their hand-off by the list again, until something is to be seen there."""
    for _ in range(40):
        await worker.follow("/intake/pages/handoffs")
        await worker.follow(among)
        if not await worker.link(f"/handoffs/{handoff}").count():
            continue
        await worker.follow(f"/handoffs/{handoff}")
        if await worker.page.locator(what).count():
            return
    raise AssertionError(f"never seen at {worker.path}: {what}")


# --- the house --------------------------------------------------------------------------------------------------------


async def waits_for_a_request(house: Hands, *, moves: bool) -> None:
    """At the inbox. `moves`: it appears by itself; else the page is looked at again."""
    if moves:
        await expect(house.page.locator("article.offer .act")).to_be_visible(timeout=20_000)
    for _ in range(0 if moves else 40):
        if await house.page.locator("article.offer .act").count():
            return
        await house.follow(INBOX)
    assert await house.page.locator("article.offer .act").count() == 1


async def accepts(house: Hands) -> str:
    """The one request in the inbox. Returns the offer's id."""
    await house.press("/accept")
    return house.path.rsplit("/", 1)[1]


async def declines(house: Hands, reason: str) -> None:
    await house.follow("/decline")
    await house.tick("reason", reason)
    await house.press("/decline")


async def opens_the_packet(house: Hands, offer: str, *, scripts: bool) -> None:
    """From the arrivals. The page between the two services goes on by itself where there are scripts."""
    await house.follow("/referral/pages/arrivals")
    await house.follow(f"/offers/{offer}")
    if scripts:
        house.clicks += 1
        await house.button("/packet").click()
        await house.page.wait_for_url("**/intake/pages/packets/*")
        await house.look()
    else:
        await house.press("/packet")
        await house.press(f"/packets/{offer}")


async def says_where(house: Hands, meeting_point: str) -> None:
    await house.follow("/whereabouts")
    await house.write("meeting_point", meeting_point)
    await house.press("/whereabouts")


async def confirms_arrival(house: Hands, offer: str, code: str) -> None:
    await house.follow("/referral/pages/arrivals")
    await house.follow(f"/offers/{offer}")
    await house.write("code", code)
    await house.press("/arrived")


async def records_outcome(house: Hands, outcome: str = "needs_met") -> None:
    await house.follow("/outcome")
    await house.tick("outcome", outcome)
    await house.press("/outcome")
