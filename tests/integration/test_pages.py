"""What every page keeps to: who may see it, where a form has to come from, and that nothing of a visitor is lost."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
import pytest

from schemas.rights import StaffRole
from services.cli.client import trusted
from spean.web.static import assets
from spean.web.visitor import COOKIE
from tests.browser.desk import at_desk, plain
from tests.browser.visiting import Screen, signed_in
from tests.builders import World

INBOX = "/referral/pages/inbox"


async def test_a_stranger_is_led_to_the_sign_in_and_back(world: World) -> None:
    async with at_desk(world.made, None) as visit:
        answer = await visit.client.get(f"{INBOX}?done=saved")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/referral/pages/sign-in?next=%2Freferral%2Fpages%2Finbox%3Fdone%3Dsaved"


async def test_a_page_needs_its_role(world: World) -> None:
    sender = await signed_in(world.made, world.sender, StaffRole.SENDER)
    async with at_desk(world.made, sender) as visit:
        page = await visit.get(INBOX, 403)
        assert "Your account may not do this" in page.text
        await visit.get("/intake/pages/handoffs")
        await visit.get("/referral/pages/nowhere", 404)


async def test_every_page_says_how_it_may_be_used(world: World) -> None:
    house = await world.house("House")
    cookie = await signed_in(world.made, house, StaffRole.RECEIVER)
    async with at_desk(world.made, cookie) as visit:
        answer = await visit.client.get(INBOX)
    head = answer.headers
    assert head["cache-control"] == "no-store"
    assert head["referrer-policy"] == "no-referrer"
    policy = head["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|javascript:", answer.text)
    for address, integrity in re.findall(
        r'(?:src|href)="(/static/[^"]+\.(?:js|css))" integrity="([^"]+)"', answer.text
    ):
        assert integrity == assets()[address.rpartition("/")[2]].integrity
        assert (await visit_static(world, address)).status_code == 200


async def visit_static(world: World, address: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=world.made.url, verify=trusted(), timeout=15) as client:
        return await client.get(address)


async def offered(world: World) -> tuple[str, str, Screen]:
    """A house with an open offer. Returns the cookie of somebody there, the offer's accept address, the inbox."""
    house = await world.house("House")
    await world.handoff(await world.ready_person())
    offer = await world.offer(house)
    cookie = await signed_in(world.made, house, StaffRole.RECEIVER)
    async with at_desk(world.made, cookie) as visit:
        return cookie, f"/referral/pages/offers/{offer['id']}/accept", await visit.get(INBOX)


async def state(world: World, accept: str) -> str:
    offers = await world.houses[0].partner.get(f"/referral/offers/{accept.split('/')[4]}")
    return str(offers["state"])


async def test_a_form_from_elsewhere_does_nothing(world: World) -> None:
    cookie, accept, page = await offered(world)
    fields = page.of(accept)
    async with at_desk(world.made, cookie) as visit:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}):
            answer = await visit.client.post(accept, data=fields, headers=headers)
            assert answer.status_code == 403
            assert fields["key"] not in answer.text
        del visit.client.headers["Sec-Fetch-Site"]
        answer = await visit.client.post(accept, data=fields, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
    assert await state(world, accept) == "seen"


@pytest.mark.parametrize("token", [None, "", "x", "A" * 88], ids=["missing", "empty", "short", "wrong"])
async def test_a_form_without_its_token_is_asked_for_again_and_keeps_what_was_typed(
    world: World, token: str | None
) -> None:
    cookie, accept, page = await offered(world)
    fields = {**page.of(accept), "csrf": token or "", "note": '<script>alert("x")</script>'}
    if token is None:
        del fields["csrf"]
    async with at_desk(world.made, cookie) as visit:
        answer = await visit.send(accept, fields)
        assert answer.status_code == 409
        again = Screen(answer)
        assert "<script>alert" not in answer.text
        assert again.of(accept)["note"] == fields["note"]
        assert await state(world, accept) == "seen"
        done = await visit.send(accept, {**again.of(accept)})
        assert done.status_code == 303
    assert await state(world, accept) == "accepted"


async def test_a_form_whose_session_has_ended_is_sent_after_a_new_sign_in(world: World) -> None:
    _, accept, page = await offered(world)
    async with at_desk(world.made, "gone") as visit:
        answer = await visit.send(accept, page.of(accept))
        assert answer.status_code == 409
        assert "signed out" in plain(answer.text)
        kept = Screen(answer).of(accept)
    later = await signed_in(world.made, world.houses[0], StaffRole.RECEIVER)
    async with at_desk(world.made, later) as visit:
        answer = await visit.send(accept, kept)  # its token is a stranger's: once more
        assert answer.status_code == 409
        assert (await visit.send(accept, Screen(answer).of(accept))).status_code == 303
    assert await state(world, accept) == "accepted"


async def test_sent_twice_counts_once(world: World) -> None:
    cookie, accept, page = await offered(world)
    async with at_desk(world.made, cookie) as visit:
        one, other = await visit.send(accept, page.of(accept)), await visit.send(accept, page.of(accept))
        assert (one.status_code, other.status_code) == (303, 303)
        assert one.headers["location"] == other.headers["location"]
        changed = await visit.send(accept, {**page.of(accept), "more": "1"})
        assert changed.status_code == 422
        assert "sent before with other answers" in plain(changed.text)


async def test_a_stale_page_is_told_to_look_again(world: World) -> None:
    cookie, accept, page = await offered(world)
    async with at_desk(world.made, cookie) as visit:
        answer = await visit.send(accept, {**page.of(accept), "version": "77"})
        assert answer.status_code == 412
        assert "changed since you looked" in plain(answer.text)
    assert await state(world, accept) == "seen"


async def test_another_organisations_object_is_not_there(world: World) -> None:
    _, accept, page = await offered(world)
    other = await signed_in(world.made, await world.house("Other house"), StaffRole.RECEIVER)
    async with at_desk(world.made, other) as visit:
        there = await visit.client.get(accept.removesuffix("/accept"))
        nowhere = await visit.client.get(f"/referral/pages/offers/{uuid4()}")
        assert there.status_code == nowhere.status_code == 404
        assert plain(there.text) == plain(nowhere.text)
        await visit.get("/referral/pages/arrivals")
        answer = await visit.send(accept, page.of(accept))
        assert answer.status_code == 409  # the other session's token
        assert (await visit.send(accept, Screen(answer).of(accept))).status_code == 404
    assert await state(world, accept) == "seen"


async def test_a_session_that_ended_opens_nothing_anywhere(world: World) -> None:
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    async with at_desk(world.made, cookie) as visit:
        await visit.get("/intake/pages/handoffs")
        await world.admin.post(f"/referral/organisations/{world.sender.id}/suspend")
        answer = await visit.client.get("/intake/pages/handoffs")
        assert answer.status_code == 303


async def test_the_language_is_kept_and_never_leads_away(world: World) -> None:
    async with at_desk(world.made, None) as visit:
        answer = await visit.client.get("/pages/language?to=km&next=https://evil.example/")
        assert answer.headers["location"] == "/"
        answer = await visit.client.get(f"/pages/language?to=km&next={INBOX}")
        assert answer.headers["location"] == INBOX
        assert "__Host-spean-language=km" in answer.headers["set-cookie"]
        page = await visit.client.get("/pages/offline", headers={"Cookie": "__Host-spean-language=km"})
        assert '<html lang="km"' in page.text


async def test_a_script_gets_its_answer_as_data(world: World) -> None:
    cookie, accept, page = await offered(world)
    async with at_desk(world.made, cookie) as visit:
        script = {"Accept": "application/json"}
        asked = (await visit.client.get("/referral/pages/token", headers=script)).json()
        sent = {"key": page.of(accept)["key"], "version": "77", "csrf": asked["csrf"]}
        answer = await visit.client.post(accept, data=sent, headers=script)
        assert (answer.status_code, answer.json()["code"]) == (412, "version")
        visit.client.headers["Cookie"] = f"{COOKIE}=none"
        assert (await visit.client.get("/referral/pages/token", headers=script)).status_code == 401


@pytest.mark.parametrize(
    "path", ["/static/x/app.py", "/static/x/..%2fpages.py", "/static/x/visitor.py", "/static/../x"]
)
async def test_only_files_meant_for_it_are_served(world: World, path: str) -> None:
    assert (await visit_static(world, path)).status_code == 404


async def test_a_page_is_small(world: World) -> None:
    """Bytes as they cross the line: everything at first, then the page alone."""
    cookie, _, _ = await offered(world)
    async with at_desk(world.made, cookie) as visit:
        for language, font in (("en", 0), ("km", 1)):
            headers = {"Accept-Encoding": "br", "Accept-Language": language}
            async with visit.client.stream("GET", INBOX, headers=headers) as answer:
                page = len(b"".join([part async for part in answer.aiter_raw()]))
            whole = await visit.client.get(INBOX, headers=headers)
            files = set(re.findall(r'"/static/[0-9a-f]+/([^"#]+)', whole.text)) | (
                {"noto-sans-khmer.woff2"} if font else set()
            )
            rest = sum(len(assets()[name].packed or assets()[name].body) for name in files)
            assert page <= 10_000
            assert page + rest <= 90_000
