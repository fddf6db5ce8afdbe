"""Scripts and other odd things typed into every field of every form; every form sent twice. It changes the town that the
other tests of pages look at, so it comes last of them."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.builders import eventually
from tests.security.page_forms import Found, starts, walk
from tests.security.page_town import Town
from tests.security.pages import page

# Found in a page's text or in the value of a field, never as part of it. Short, so that fields take it.
SIGN = "zqxss"
SCRIPTS = (
    f'"><script>{SIGN}()</script>', f"'><img src=x onerror={SIGN}()>", f"</textarea></title><svg onload={SIGN}()>",
    f"javascript:{SIGN}()//", f"＂＞＜script＞{SIGN}()", f"\u202e\"><b onclick='{SIGN}()'>", f"{{{{7*7}}}}%(n)s{SIGN}<!--",
)  # fmt: skip
# What has broken something somewhere: both directions, nothing to be seen, half of something, another plane.
ODD = (
    "\u202e\u202dnoitcerid\u202c\u2066\u2069", "\u200b\u200c\u200d\u2060\ufeff", "a" + "\u0301" * 90, "👩‍👩‍👧‍👦" * 8,
    "\U000e0041" * 20, "\x01\x02\x1b[2J\x7f", "ស្រី\u200bមុំ\u17d2", "\r\n\r\nSet-Cookie: a=b", "' or 1=1 --", "٣٤۵๕៥",
)  # fmt: skip
PASTE = "ក" * 27_000  # 243 kB as it is sent: just within what is read
# What ends the session of who sends it comes last.
_ENDS = ("/sign-out", "/sign-out-everywhere", "/account/password", "/remove", "/leave")


def in_order(found: Sequence[Found]) -> list[Found]:
    """Forms that take a text first: what others do may take away what they are about."""
    return sorted(found, key=lambda one: (one.route.path.endswith(_ENDS), not one.form.written))


async def sent(town: Town, one: Found, fields: Mapping[str, Any]) -> httpx.Response:
    """The form as it was found, with these answers."""
    guest = town.guests[one.who]
    return await guest.send(one.form.path, urlencode(fields, doseq=True).encode())


def taken(answer: httpx.Response) -> bool:
    """Never a fault: done (and led on), or a page that says what to do. Raises AssertionError."""
    about = (answer.request.url.path, answer.status_code)
    assert answer.status_code < 500, about
    if answer.status_code == 303:
        assert SIGN not in answer.headers["location"], about
        return True
    page(answer)
    return False


async def test_a_script_in_every_field_that_takes_a_text(town: Town, found: list[Found]) -> None:
    """Sent as it is, then every page looked at by everybody: it is there, and nowhere more than a text."""
    done = 0
    for number, one in enumerate(in_order(found)):
        if not one.form.written or one.route.path.endswith(_ENDS):
            continue
        script = SCRIPTS[number % len(SCRIPTS)]
        done += taken(await sent(town, one, one.form.filled(script)))
        for name in one.form.written:
            fields = {**one.form.filled(), "key": secrets.token_urlsafe(24), name: script}
            done += taken(await sent(town, one, fields))
    assert done > 5
    shown = 0
    for who, paths in starts(town).items():
        for seen in (await walk(town, who, paths)).values():  # which raises for anything but text
            shown += SIGN in seen.html
            assert f"<script>{SIGN}" not in seen.html
    assert shown > 5
    table = csv.reader(io.StringIO((await town.guests["coordinator"].get("/notify/pages/dashboard.csv")).text))
    assert not [cell for line in table for cell in line if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


async def test_a_script_in_the_place_of_every_answer(town: Town, found: list[Found]) -> None:
    """Also where there is nothing to be typed: a choice, a number, a version."""
    for number, one in enumerate(in_order(found)):
        if one.route.path.endswith(_ENDS):
            continue
        fields: dict[str, Any] = dict.fromkeys(one.form.filled(), SCRIPTS[number % len(SCRIPTS)])
        answer = await sent(town, one, {**fields, "csrf": await town.guests[one.who].token(one.route.service)})
        taken(answer)
        for name in ("key", "version"):
            changed = {**one.form.filled(), name: SCRIPTS[0]}
            if name in one.form.filled():
                taken(await sent(town, one, changed))


async def test_odd_texts_and_enormous_ones(town: Town, found: list[Found]) -> None:
    for number, one in enumerate(in_order(found)):
        if not one.form.written or one.route.path.endswith(_ENDS):
            continue
        for text in (ODD[number % len(ODD)], ODD[(number + 3) % len(ODD)]):
            taken(await sent(town, one, one.form.filled(text)))
        for name in one.form.written:
            filled = one.form.filled()
            answer = await sent(town, one, {**filled, name: PASTE})
            # What narrows a choice is no part of the answer, and is kept nowhere.
            if taken(answer) and f"{name.removesuffix('_name')}_shown" in filled:
                continue
            assert not taken(answer), (one.id, name)
            assert answer.status_code in {200, 403, 404, 409, 410, 422, 429}, (one.id, name, answer.status_code)


async def test_every_answer_twice_in_one_form(town: Town, found: list[Found]) -> None:
    """A name that comes twice where one answer is wanted: never a fault."""
    for one in in_order(found):
        if one.route.path.endswith(_ENDS):
            continue
        fields = one.form.filled()
        again = {name: [*values, *values, "another"] for name, values in fields.items() if name != "csrf"}
        taken(await sent(town, one, {**again, "csrf": fields["csrf"]}))


async def test_every_form_sent_twice_is_done_once(town: Town, found: list[Found]) -> None:
    """The same answers with the same key, as after a second click or a line that broke."""
    done, twice = 0, []
    for one in in_order(found):
        shown = await town.guests_page(town.guests[one.who], one.page)
        form = next((form for form in shown.forms if form.action == one.form.action), one.form)
        fields = form.filled()
        first = await sent(town, one, fields)
        done += taken(first)
        if first.status_code >= 400:
            continue
        after = await _settled(town)
        taken(await sent(town, one, fields))
        now = await town.state()
        twice += [f"{one.route.id}: {name}" for name in now if now[name] != after[name]]
    assert not twice, "\n".join(sorted(set(twice)))
    assert done > 20


async def _settled(town: Town) -> dict[str, str]:
    """What is in the databases when everybody has heard of what was done: the same twice."""
    before: dict[str, str] = {}

    async def same() -> dict[str, str] | None:
        nonlocal before
        before, now = await town.state(), before
        return before if before == now else None

    found: dict[str, str] = await eventually(same)
    return found
