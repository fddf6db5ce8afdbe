"""The sender's pages for hand-offs: what became of each, as far as the person lets the sender know; what is theirs to do."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from schemas.questions import OrganisationFacts
from schemas.vocabulary import DeclineReason, Outcome
from services.intake.disclosure import handlers as disclosure
from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers as drafts
from services.intake.drafts.domain import Draft
from services.intake.erasure import copies_store
from services.intake.erasure.copies_api import AskedCopy, copies_now
from services.intake.handoffs import api, domain, handlers, listing, search, store
from services.intake.handoffs.api import SCOPE, DisclosureView, HandoffView
from services.intake.handoffs.handlers import Seen
from services.intake.handoffs.listing import Show
from services.intake.handoffs.search import Word
from spean.db import Tx
from spean.gated import GatedResponse
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import network
from spean.web.forms import Form
from spean.web.pages import At, Sent, at_with, page_router, sent_with
from spean.web.words import N_

LIST = "/intake/pages/handoffs"
_LIST_MOST = 25
_TOLD_MOST = 50
# Words that stand for something that waits for the sender, where the gate lets them see it.
_WAITS = frozenset({"on-hold", "missing", "requested"})
NOTHING_FITS = N_("Nothing is called that. Search for a service, a province, or the first characters of the number.")
router = page_router("sender's pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class Line(View):
    """A hand-off in the list. `news`: what this worker has not seen of it; `mark`: what they see of it now."""

    handoff: HandoffView
    news: Literal["", "new", "changed"]
    mark: str


class Lines(View):
    """`after`: where the next page goes on; `unfinished`: what this worker has begun to write."""

    lines: tuple[Line, ...]
    after: UUID | None
    unfinished: tuple[Draft, ...]


class Step(View):
    """Something that happened; `who` is None where the sender may not know, or where it is nobody."""

    what: Literal["requested", "asked", "declined", "accepted", "ended"]
    at: datetime
    who: UUID | None = None
    decline: DeclineReason | None = None
    outcome: Outcome | None = None


class OnePage(View):
    """`may_cancel`: not ended yet. `mark`: what it says, for a page that looks again by itself. `copies`: how many are to be
    erased and were not answered for; `late`: one of them not in time."""

    handoff: HandoffView
    members: tuple[UUID, ...]
    steps: tuple[Step, ...]
    may_cancel: bool
    mark: str
    copies: int
    late: bool


class ToldPage(View):
    """`facts`: of the organisations that may be named. `copies`: that somebody was asked to erase."""

    disclosures: tuple[DisclosureView, ...]
    copies: tuple[AskedCopy, ...]
    members: tuple[UUID, ...]
    facts: dict[UUID, OrganisationFacts]
    after: int | None


def _digest(at: At, seen: Seen) -> bytes:
    """What this is shown as, and nothing that the gate hides: only a change of it is news."""
    shown = [
        seen.handoff.id,
        seen.state,
        seen.code,
        seen.meeting_point,
        seen.address,
        seen.receiver,
        seen.arrival_verified,
    ]
    return hmac.digest(at.door.secret, "\n".join(map(str, shown)).encode(), hashlib.sha256)


# --- the list ---------------------------------------------------------------------------------------------------------


@router.get("/handoffs")
async def my_handoffs(
    request: Request,
    at: Sender,
    show: Show = Show.OPEN,
    find: Annotated[list[str] | None, Query(max_length=6)] = None,
    after: UUID | None = None,
) -> Response:
    """The latest first. `find`: words as codes (`search`)."""
    words = [Word.of(code) for code in find or ()]
    return _list(request, at, show, [word for word in words if word.found], after)


def _list(
    request: Request, at: At, show: Show, words: Sequence[Word], after: UUID | None, form: Form | None = None,
    error: str | None = None,
) -> Response:  # fmt: skip
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        ids = await listing.page(tx, show, words, after, _LIST_MOST + 1)
        found = await handlers.seen_by_sender(tx, holder, ids[:_LIST_MOST], at.who.facts)
        known = await listing.looked(tx, at.who.person, ids)
        shown = [one for one in found if show is not Show.MINE or one.state in _WAITS]
        lines = tuple(_line(at, one, known.get(one.handoff.id), tx.now) for one in shown)
        begun = await drafts.unfinished(tx, holder.keys, at.who.person)
        following = ids[_LIST_MOST - 1] if len(ids) > _LIST_MOST else None
        return Reply(Lines(lines=lines, after=following, unfinished=tuple(begun)))

    return at.gated(
        "page.handoffs", work, "intake/handoffs/list.html", show=show, wanted=words, shows=list(Show),
        find=[word.code for word in words], form=form or Form(), errors={"text": error} if error else {},
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        phone=request.app.state.duty_phone,
    )  # fmt: skip


def _line(at: At, seen: Seen, before: bytes | None, now: datetime) -> Line:
    mark = _digest(at, seen)
    news: Literal["", "new", "changed"] = "new" if before is None else "" if before == mark else "changed"
    return Line(handoff=api.view(seen, now), news=news, mark=mark.hex())


@router.post("/handoffs")
async def search_handoffs(request: Request, sent: SenderSent) -> Response:
    """What was typed becomes codes, and goes no further."""
    typed = sent.form.one("text")
    words = search.words(typed, sent.words.text)
    if not all(word.found for word in words):
        return _list(request, sent, Show.OPEN, (), None, sent.form, NOTHING_FITS)
    show = sent.form.one("show")
    return sent.see(LIST, show=show if show in set(Show) else Show.OPEN, find=[word.code for word in words])


@router.post("/handoffs/seen")
async def all_seen(sent: SenderSent) -> Response:
    """The worker has seen these lines, as they stood on their page: what has changed since stays marked."""
    try:
        pairs = [line.partition(":") for line in sent.form.all("line")]
        seen = {UUID(id_): bytes.fromhex(mark) for id_, _, mark in pairs}
    except ValueError:
        raise Refusal("invalid") from None
    async with sent.door.db.transaction("page.handoffs_seen", org=sent.who.org) as tx:
        await listing.mark(tx, sent.who.person, seen)
    return sent.see(LIST, done="all-seen")


# --- one hand-off -----------------------------------------------------------------------------------------------------


@router.get("/handoffs/{handoff}")
async def one_handoff(request: Request, handoff: UUID, at: Sender) -> Response:
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        found, shown = await _one(request, tx, at, handoff)
        await listing.mark(tx, at.who.person, {handoff: _digest(at, found)})
        return Reply(shown, found.handoff.version)

    return at.gated(
        "page.handoff", work, "intake/handoffs/one.html", directory=directory, phone=request.app.state.duty_phone
    )


@router.get("/handoffs/{handoff}/now")
async def moving_part(
    request: Request, handoff: UUID, at: Sender, mark: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """The part of the page that moves; nothing where it would say the same. The page asks every now and then and is told
    of no change: also that something has changed which the sender may not know would say something."""
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        found, shown = await _one(request, tx, at, handoff)
        return Reply(shown, found.handoff.version)

    def render(reply: Reply) -> Response:
        if isinstance(reply.body, OnePage) and reply.body.mark == mark:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        phone = request.app.state.duty_phone
        return at.page("intake/handoffs/one_now.html", body=reply.body, directory=directory, phone=phone)

    return GatedResponse(at.door.db, "page.handoff_now", work, at.who.org, render=render)


async def _one(request: Request, tx: Tx, at: At, handoff: UUID) -> tuple[Seen, OnePage]:
    holder: Holder = request.app.state.holder
    found = await api.seen(tx, holder, handoff, at.caller)
    steps = tuple(await _steps(tx, holder, found, at))
    shown = api.view(found, tx.now)
    open_copies = [row for row in await copies_store.asked_of(tx, handoff) if row["erasure"] == "requested"]
    # Not the version, which rises also by what the sender may not know.
    said = _digest(at, found) + repr((steps, shown.not_yet_with_network)).encode()
    return found, OnePage(
        handoff=shown, members=tuple((await store.members(tx, [handoff]))[handoff]), steps=steps,
        may_cancel=found.state not in {"completed", "cancelled", domain.CLOSED} and not found.handoff.ending,
        mark=hmac.digest(at.door.secret, said, hashlib.sha256).hex(), copies=len(open_copies),
        late=any(row["erasure_by"] is not None and row["erasure_by"] < tx.now for row in open_copies),
    )  # fmt: skip


async def _steps(tx: Tx, holder: Holder, seen: Seen, at: At) -> list[Step]:
    """What may be known of what happened, in order. Who was asked is named where the person agreed to it."""
    handoff = seen.handoff.id
    unnamed = await disclosure.unnamed(tx, holder, handoff, at.who.facts)
    steps = [Step(what="requested", at=seen.handoff.requested_at)]
    steps += [
        Step(what="asked", at=when, who=None if one in unnamed else one)
        for one, when in await listing.asked(tx, handoff)
    ]
    for kind, code, when in await handlers.details(tx, holder, seen):
        if kind == "decline":
            steps.append(Step(what="declined", at=when, decline=DeclineReason(code)))
        else:
            steps.append(Step(what="ended", at=when, outcome=Outcome(code)))
    if not seen.nobody and (released := await listing.released_at(tx, handoff)) is not None:
        steps.append(Step(what="accepted", at=released, who=seen.receiver))
    return sorted(steps, key=lambda step: step.at)


@router.get("/handoffs/{handoff}/told")
async def told(request: Request, handoff: UUID, at: Sender, after: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Who was told which fields under which rule."""
    holder: Holder = request.app.state.holder
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        found = (await api.disclosures_now(tx, holder, handoff, at.caller, after, _TOLD_MOST)).disclosures
        named = {one.recipient for one in found if one.recipient is not None}
        facts = {one: await store.asked_facts(tx, handoff, one) for one in named}
        shown = ToldPage(
            disclosures=found, copies=() if after else await copies_now(tx, holder, handoff, at.caller), members=tuple((await store.members(tx, [handoff]))[handoff]),
            facts={one: known for one, known in facts.items() if known is not None},
            after=found[-1].number if len(found) == _TOLD_MOST else None,
        )  # fmt: skip
        return Reply(shown)

    return at.gated("page.told", work, "intake/handoffs/told.html", handoff=handoff, directory=directory)


# --- what the sender can do -------------------------------------------------------------------------------------------


@router.get("/handoffs/{handoff}/cancel")
async def really_cancel(
    request: Request, handoff: UUID, at: Annotated[At, Depends(at_with(SCOPE, stopping=True))]
) -> Response:
    """What will happen, in the words that the sender may know."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await api.seen(tx, holder, handoff, at.caller)
        return Reply(api.view(found, tx.now), found.handoff.version)

    return at.gated("page.cancel", work, "intake/handoffs/cancel.html")


@router.post("/handoffs/{handoff}/cancel")
async def cancel(handoff: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE, stopping=True))]) -> Response:
    await api.cancel_handoff(handoff, sent.command())
    return sent.see(f"{LIST}/{handoff}{'/cancel' if sent.who.only_stops else ''}", done="cancelled")


@router.post("/handoffs/{handoff}/ask-again")
async def ask_again(request: Request, handoff: UUID, sent: SenderSent) -> Response:
    await api.ask_again(request, handoff, sent.command())
    return sent.see(f"{LIST}/{handoff}", done="asked-again")
