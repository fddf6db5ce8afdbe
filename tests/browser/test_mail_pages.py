"""Mail addresses at the administrator's pages: what is missing is seen, an address is set there, and never shown."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from services.referral.admin.mail import missing_at
from tests.browser.administering import ADMIN, id_of, register
from tests.browser.visiting import Screen, Walker
from tests.builders import World, eventually

ADDRESSES = "/notify/pages/addresses"
NONE = "No address: nobody there is told by mail that something waits."


async def _kept(world: World, organisation: str) -> list[dict[str, Any]]:
    async with world.made.services["notify"].db.transaction("test.address") as tx:
        rows = await tx.conn.fetch("select email, version from address where organisation = $1", UUID(organisation))
    return [dict(row) for row in rows]


async def test_a_missing_address_is_seen_and_set(world: World, administrator: Walker) -> None:
    """From the organisation's page, without the API; a second click is the same."""
    organisation = id_of(await register(administrator, name=f"Unreached house {uuid4().hex[:8]}"))

    async def heard_of() -> Screen | None:
        found = await administrator.get(f"{ADMIN}/organisations/{organisation}")
        return found if NONE in found.text else None

    page = await eventually(heard_of)
    assert "mail address: nobody there is told" in (await administrator.get(ADMIN)).text
    page = await administrator.click(page, "The address of its shared inbox")
    assert (page.path, NONE in page.text) == (f"{ADDRESSES}/{organisation}", True)
    form = page.form(f"/{organisation}")
    for wrong in ("", "house", "house@", "two@sample.invalid, three@sample.invalid"):
        refused = await administrator.send(form, email=wrong)
        assert (refused.status, "email-error" in refused.ids) == (422, True), wrong
        assert refused.form(f"/{organisation}").get("email") == [wrong], "what was typed is kept"
    assert await _kept(world, organisation) == []
    for _ in range(2):
        done = await administrator.send(form, email="house@sample.invalid")
        assert "Saved." in done.text
        assert (NONE in done.text, "house@sample.invalid" in done.html) == (False, False)
    assert await _kept(world, organisation) == [{"email": "house@sample.invalid", "version": 1}]
    await administrator.send(done.form(f"/{organisation}"), email="shelter@sample.invalid")
    assert await _kept(world, organisation) == [{"email": "shelter@sample.invalid", "version": 2}]
    assert NONE not in (await administrator.get(f"{ADMIN}/organisations/{organisation}")).text


async def test_the_list_names_who_has_none(world: World, administrator: Walker) -> None:
    mark = uuid4().hex[:8]
    reached, unreached = await world.house(f"Reached {mark}"), await world.house(f"Unreached {mark}")
    await world.admin.post("/notify/addresses", {"organisation": reached.id, "email": "inbox@sample.invalid"})

    async def of(state: str) -> set[str]:
        page = await administrator.get(f"{ADDRESSES}?q={mark}&state={state}")
        return {one.id for one in (reached, unreached) if f"{ADDRESSES}/{one.id}" in page.links_to}

    async def both() -> bool:
        return await of("") == {reached.id, unreached.id}

    await eventually(both)
    assert await of("missing") == {unreached.id}
    await world.admin.post(f"/referral/organisations/{unreached.id}/suspend")

    async def nobody_waits_for_it() -> bool:
        return await of("missing") == set()

    await eventually(nobody_waits_for_it)
    assert (await administrator.get(f"{ADDRESSES}/{uuid4()}")).status == 404


async def test_without_an_answer_the_administrators_pages_say_what_they_can(
    world: World, administrator: Walker
) -> None:
    app = world.made.services["referral"].app
    asked = app.state.missing_mail
    # Nobody listens on the discard port.
    app.state.missing_mail = missing_at(administrator.client, "http://127.0.0.1:9/notify")
    try:
        for path in (ADMIN, f"{ADMIN}/organisations/{world.sender.id}"):
            page = await administrator.get(path)
            assert (page.status, "nobody there is told" in page.text) == (200, False), path
    finally:
        app.state.missing_mail = asked
