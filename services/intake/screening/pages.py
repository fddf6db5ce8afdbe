"""A group that is screened: each person alone, in private, on a very short form. It makes entries, never a consent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from schemas.vocabulary import AgeBand, Sex
from services.intake.cases import store as cases
from services.intake.cases.api import EntryCreated
from services.intake.cases.domain import PersonFields
from services.intake.cases.steps import LANGUAGES, MORE_LANGUAGES, places
from services.intake.disclosure.handlers import Holder
from services.intake.erasure.api import at_once
from services.intake.screening import api, handlers, store
from services.intake.screening.api import SCOPE, FinishBody, ScreeningView
from spean.db import Tx
from spean.geography import known_area
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Incomplete
from spean.web.pages import At, Sent, at_with, id_in, page_router, sent_with

LIST = "/intake/pages/screenings"
_PEOPLE_MOST = lists.MOST
_CHOICES: Mapping[str, Any] = {"ages": list(AgeBand), "sexes": list(Sex), "spoken": (*LANGUAGES, *MORE_LANGUAGES)}
router = page_router("screening's pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]
Stands = Literal["erased", "asked", "case", "given", "refused", "withdrawn", "open"]


class Begun(View):
    screening: ScreeningView
    began_at: datetime


class Sessions(View):
    sessions: tuple[Begun, ...]


class Person(View):
    """One of the group, without a name: the list may be seen by others. `number` counts from 1."""

    entry: UUID
    number: int
    age: AgeBand | None
    sex: Sex | None
    stands: Stands


class SessionPage(View):
    """`next`: where the list goes on."""

    screening: ScreeningView
    by_hand: bool
    people: tuple[Person, ...]
    next: int | None


@router.get("/screenings")
async def sessions(at: Sender, after: UUID | None = None) -> Response:
    """My organisation's, the latest first."""
    async with at.door.db.transaction("page.screenings", org=at.who.org) as tx:
        found = await store.latest(tx, lists.MOST + 1, after)
    begun = [Begun(screening=api.view(s), began_at=when) for s, when in found[: lists.MOST]]
    more = begun[-1].screening.id if len(found) > len(begun) else None
    return at.page("intake/screening/list.html", sessions=begun, more=more)


@router.get("/screenings/new")
async def where(request: Request, at: Sender) -> Response:
    return at.page("intake/screening/new.html", countries=_countries(request, at))


def _countries(request: Request, at: At) -> list[tuple[str, list[tuple[str, str]]]]:
    holder: Holder = request.app.state.holder
    return places(holder.country, at.words)


@router.post("/screenings")
async def begin(request: Request, sent: SenderSent) -> Response:
    area = sent.form.one("area")
    if not known_area(area):
        wrong = Incomplete({"area": forms.SAID["enum"]})
        return sent.again("intake/screening/new.html", wrong, sent.form, countries=_countries(request, sent))

    async def work(tx: Tx) -> Reply:
        return Reply(EntryCreated(id=await handlers.begin_by_hand(tx, area), version=1), 1, HTTPStatus.CREATED)

    made = await sent.command().run("screening.begin_by_hand", work)
    return sent.see(f"{LIST}/{id_in(made)}")


@router.get("/screenings/{screening}")
async def session(
    request: Request, screening: UUID, at: Sender, from_row: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0
) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await store.find_screening(tx, screening)
        rows = await store.standing(tx, screening, from_row, _PEOPLE_MOST + 1)
        opened = await cases.open_own(tx, holder.keys, [row["entry"] for row in rows])
        people = tuple(_person(row, opened.get(row["entry"])) for row in rows[:_PEOPLE_MOST])
        more = rows[_PEOPLE_MOST]["row"] if len(rows) > _PEOPLE_MOST else None
        shown = SessionPage(screening=api.view(found), by_hand=found.by_hand, people=people, next=more)
        return Reply(shown, found.version)

    return at.gated("page.screening", work, "intake/screening/one.html")


def _person(row: Mapping[str, Any], one: cases.Opened | None) -> Person:
    number = row["row"] + 1
    if one is None:
        return Person(entry=row["entry"], number=number, age=None, sex=None, stands="erased")
    stands: Stands = "asked" if row["asked"] else "case" if row["case"] else row["service"] or "open"
    return Person(entry=row["entry"], number=number, age=one.fields.band, sex=one.fields.sex, stands=stands)


@router.get("/screenings/{screening}/people")
async def next_person(screening: UUID, at: Sender) -> Response:
    """Nothing of anybody else is on this page: the next person may be looking on."""
    async with at.door.db.transaction("page.screening_next", org=at.who.org) as tx:
        await store.find_screening(tx, screening)
    return at.page("intake/screening/person.html", screening=screening, **_CHOICES)


@router.post("/screenings/{screening}/people")
async def add(request: Request, screening: UUID, sent: SenderSent) -> Response:
    """One more person, written down in private."""
    holder: Holder = request.app.state.holder
    form = sent.form
    try:
        person = forms.read(PersonFields, {
            "age_band": form.some("age_band"), "sex": form.some("sex"), "languages": form.all("languages"),
            "name": form.some("name"),
        })  # fmt: skip
        if person == PersonFields():
            raise Incomplete({"age_band": forms.SAID["missing"]})
    except Incomplete as error:
        return sent.again("intake/screening/person.html", error, form, screening=screening, **_CHOICES)

    async def work(tx: Tx) -> Reply:
        made = await handlers.add(tx, holder.keys, screening, person)
        return Reply(EntryCreated(id=made, version=1), 1, HTTPStatus.CREATED)

    await sent.command().run("screening.add", work)
    return sent.see(f"{LIST}/{screening}", done="entered")


@router.get("/screenings/{screening}/people/{entry}/erase")
async def really_erase(screening: UUID, entry: UUID, at: Sender) -> Response:
    """What erasing means, before it is done."""
    async with at.door.db.transaction("page.screening_erase", org=at.who.org) as tx:
        if (await cases.find_entry(tx, entry)).screening != screening:
            raise Refusal("not-found")
    return at.page("intake/screening/erase.html", screening=screening, entry=entry)


@router.post("/screenings/{screening}/people/{entry}/erase")
async def erase(request: Request, screening: UUID, entry: UUID, sent: SenderSent) -> Response:
    """Found not to be concerned: nothing that was written can be read any more."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await handlers.erase(tx, holder, screening, entry, command.caller.client)
        return Reply(EntryCreated(id=entry, version=1))

    command = sent.command()
    await command.run("screening.erase", work)
    await at_once(request.app.state.door.db, holder, entry)
    return sent.see(f"{LIST}/{screening}", done="erased")


@router.post("/screenings/{screening}/finish")
async def finish(screening: UUID, sent: SenderSent) -> Response:
    """`rows`: how many the worker saw; somebody who was added meanwhile is not left behind."""
    try:
        body = forms.read(FinishBody, {"rows": sent.form.some("rows")})
    except Incomplete:
        return sent.see(f"{LIST}/{screening}")
    await api.finish(screening, body, sent.command())
    return sent.see(f"{LIST}/{screening}", done="finished")
