"""What is written about a person on pages is on the pages of those who may read it, and nowhere else: on no other page, in no
title, address or cookie, no stream, no error, no log, no database in the clear."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest

from services.cli.installation import BUS_DATABASE
from spean.telemetry.logs import Foreign, JsonLines
from tests.builders import eventually
from tests.security.canaries import Search, person, texts, word
from tests.security.page_forms import starts, walk
from tests.security.page_town import Town, visitor
from tests.security.pages import Shown, page

FIELDS = person(400)
MEETING, ADDRESS, TYPED, WRONG, STALE, PROOF = (word(number) for number in range(480, 486))
PLANTED = {*texts(FIELDS), MEETING, ADDRESS, TYPED, WRONG, STALE}


@pytest.fixture(scope="module")
def logged() -> Iterator[io.StringIO]:
    """Everything that the process would log at DEBUG, as it would write it."""
    text, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    handler.addFilter(Foreign())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture(scope="module")
async def line(town: Town, logged: io.StringIO) -> dict[str, str]:
    """Somebody is met, corrected, handed on, accepted, read and told where to come: on pages, with a canary in every text."""
    sender, receiver, world = town.guests["sender"], town.guests["receiver"], town.world
    entry = await world.ready_person(**FIELDS)
    correct = f"/intake/pages/entries/{entry}/correct"
    form = next(one for one in Shown((await sender.get(correct)).text).forms if one.path == correct)
    wrong = await sender.post(correct, {**_kept(form), "name": WRONG, "age_years": "many"})
    assert (wrong.status_code, WRONG in wrong.text) == (422, True)
    stale = await sender.post(correct, {**_kept(form), "name": STALE, "csrf": "old"})
    assert (stale.status_code, STALE in stale.text) == (409, True)
    saved = await sender.post(correct, {**_kept(form), "name": TYPED})
    assert saved.status_code == 303, Shown(saved.text).text
    handoff = await world.handoff(entry)

    async def asked() -> Any:
        known = {town.objects["open"], town.objects["here"], town.objects["accepted"]}
        offers = (await town.stage.people["receiver"].partner.get("/referral/offers?state=sent&state=seen"))["offers"]
        return next((one["id"] for one in offers if one["id"] not in known), None)

    offer = str(await eventually(asked))
    assert (await receiver.post(f"/referral/pages/offers/{offer}/accept", {})).status_code == 303
    await world.state(handoff, "ready")
    passed_on = Shown((await receiver.post(f"/referral/pages/offers/{offer}/packet", {})).text)
    ticket = next(one for one in passed_on.forms if "/packets/" in one.path).filled()["ticket"][0]
    opened = await receiver.post(f"/intake/pages/packets/{offer}", {"ticket": ticket})
    cookie = next(one for one in opened.headers.get_list("set-cookie") if "packet" in one).partition(";")[0]
    before = dict(receiver.cookies)
    receiver.cookies.update([tuple(cookie.split("=", 1))])
    packet = await receiver.get(f"/intake/pages/packets/{offer}")
    assert TYPED in packet.text  # the control: what may be read is read
    told = await receiver.post(
        f"/intake/pages/packets/{offer}/whereabouts", {"meeting_point": MEETING, "address": ADDRESS, "version": _version(
            await receiver.get(f"/intake/pages/packets/{offer}/whereabouts"))},
    )  # fmt: skip
    assert told.status_code == 303, Shown(told.text).text
    receiver.cookies = before
    return {"entry": entry, "handoff": handoff, "offer": offer}


def _kept(form: Any) -> dict[str, Any]:
    left_out = {"csrf", "key"}
    return {one.name: one.value for one in form.fields if one.on and one.value and one.name not in left_out}


def _version(answer: Any) -> str:
    form = next(one for one in Shown(answer.text).forms if one.path.endswith("/whereabouts"))
    return next(one.value for one in form.fields if one.name == "version")


def _paths(line: dict[str, str]) -> list[str]:
    """Where the person is, and pages beneath."""
    entry, handoff, offer = (f"/intake/pages/{kind}/{id_}" for kind, id_ in
                             (("entries", line["entry"]), ("handoffs", line["handoff"]), ("packets", line["offer"])))  # fmt: skip
    return [entry, f"{entry}/correct", f"{entry}/handoff", f"{entry}/who-gets-what", f"{entry}/stop/sharing", handoff,
            f"{handoff}/told", offer, f"{offer}/whereabouts", f"/referral/pages/offers/{line['offer']}"]  # fmt: skip


async def test_nobody_else_sees_anything(town: Town, line: dict[str, str]) -> None:
    """Every page of everybody else, and the pages of this person asked for by everybody else."""
    search, looked = Search(PLANTED), 0
    for who, paths in starts(town).items():
        if who == "sender":
            continue
        for path, shown in (await walk(town, who, paths)).items():
            search.look(f"{who} {path}", shown.html)
            looked += 1
    for who in (
        "neighbour",
        "house colleague",
        "receiver",
        "coordinator",
        "administrator",
        "officer",
        "stranger",
        "ended",
    ):
        for path in _paths(line):
            answer = await town.guests[who].get(path)
            search.look(f"{who} {path}", answer.content)
            search.look(f"{who} {path} head", str(answer.headers.multi_items()))
            looked += 1
    assert looked > 100
    assert search.found == set()


async def test_ones_own_pages_say_it_in_their_text_alone(town: Town, line: dict[str, str]) -> None:
    """In no title, no address, no cookie, no head; nor the name of whoever works there."""
    search, text = Search(PLANTED), Search(PLANTED)
    sender = town.guests["sender"]
    for path in ["/intake/pages/entries", "/intake/pages/handoffs", *_paths(line)]:
        answer = await sender.get(path)
        shown = Shown(answer.text)
        text.look(path, answer.content)
        search.look(f"{path} head", str(answer.headers.multi_items()))
        search.look(f"{path} title", shown.title)
        for link in [*shown.links, *(one.action for one in shown.forms)]:
            search.look(f"{path} links", urljoin(path, link))
    assert {TYPED, MEETING} <= {canary for _, canary in text.found}
    assert search.found == set()
    staff = [(await visitor(town, who)).name for who in ("sender", "receiver", "administrator")]
    assert set(staff) == {"Made Up"}
    for who in ("administrator", "sender"):
        for path, shown in (await walk(town, who, starts(town)[who])).items():
            assert "Made Up" not in shown.title, path
            assert "Made%20Up" not in path
            assert "Made+Up" not in path


async def test_streams_say_that_something_changed_and_no_more(town: Town, line: dict[str, str]) -> None:
    search = Search({*PLANTED, *line.values()})
    for who, path in (("receiver", "/referral/pages/live"), ("coordinator", "/notify/pages/live")):
        guest, heard = town.guests[who], b""
        async with guest.client.stream("GET", f"{path}?after=0", headers={"Cookie": guest.sent_along}) as answer:
            async for chunk in answer.aiter_raw():
                heard += chunk
                if b"event: changed" in heard and heard.endswith(b"\r\n\r\n"):
                    break
        assert {part.split(b":")[0] for part in heard.split()} >= {b"event", b"data", b"id"}
        search.look(path, heard)
    assert search.found == set()


async def test_nothing_of_it_is_logged_or_kept_in_the_clear(
    town: Town, line: dict[str, str], logged: io.StringIO
) -> None:
    """With the faults of a bad form, a stale one and an unreadable one on the way."""
    sender = town.guests["sender"]
    for body, status in ((f"name={TYPED}&a=%ff", 400), (f"name={TYPED}" + "x" * 300_000, 413)):
        answer = await sender.send(f"/intake/pages/entries/{line['entry']}/correct", body.encode())
        assert answer.status_code == status
        assert TYPED not in page(answer).html
    logging.getLogger("spean.proof").error("planted", extra={"reason": PROOF})
    search = Search({*PLANTED, PROOF})
    search.look("log", logged.getvalue())
    assert search.found == {("log", PROOF)} | {("log", one) for one in _words_of(PROOF)}
    kept = Search(PLANTED)
    made = town.world.made
    for name in (*made.services, "keys", BUS_DATABASE):
        assert await kept.look_in_database(name, made.cluster.dsn(name)) > 0
    assert {found for found in kept.found if found[1] in PLANTED} == set()


def _words_of(canary: str) -> set[str]:
    """What a search finds of a canary beside itself."""
    search = Search([canary])
    search.look("", canary)
    return {found for _, found in search.found} - {canary}
