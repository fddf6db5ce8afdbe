"""The pages on which a sender asks the network for a service: the questions, the answers to check, and what is missing
before it can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.vocabulary import GROUP_OF, AgeBand, ServiceGroup, ServiceType, Urgency
from services.intake.cases import store as cases
from services.intake.cases.steps import places
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import api, domain, listing
from services.intake.handoffs.api import SCOPE, HandoffBody
from spean.db import Tx
from spean.geography import known_area
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, id_in, page_router, sent_with
from spean.web.words import N_

LIST = "/intake/pages/handoffs"
# Who moves together was mostly met together.
_OTHERS_MOST = 20
_STEPS = frozenset({"service-consent", "sharing-consent", "guardian", "party", "erased"})
# Refusals about one answer → the question that it is about.
_ABOUT = {
    "need-by-past": "need_by",
    "unknown-area": "area",
    "unknown-network": "network",
    "duplicate": "service_type",
    "decision-missing": "service_type",
    "family-unchecked": "service_type",
    "determination": "service_type",
}
DUPLICATE = N_("The network is asked for this already for one of them: look at your hand-offs.")
router = page_router("sender's pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class Known(View):
    """Somebody, as the worker who met them knows them. `missing`: the step (a refusal's code) without which nothing can
    be asked for them."""

    entry: UUID
    name: str | None
    age: AgeBand | None
    met: datetime
    area: str
    missing: str | None


class Question(View):
    """Who it is about, and who could move with them."""

    one: Known
    others: tuple[Known, ...]


class Checked(View):
    """The answers, and everybody whom they are about."""

    asked: HandoffBody
    people: tuple[Known, ...]

    @property
    def ready(self) -> bool:
        return all(one.missing is None for one in self.people)


@router.get("/entries/{entry}/handoff")
async def new_handoff(request: Request, entry: UUID, at: Sender) -> Response:
    return _questions(request, at, entry, Form(), {})


def _questions(request: Request, at: At, entry: UUID, form: Form, errors: dict[str, str]) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        others = [one for one in await listing.with_case(tx, _OTHERS_MOST + 1) if one != entry][:_OTHERS_MOST]
        known = {one.entry: one for one in await _known(tx, holder, [entry, *others])}
        if entry not in known:
            raise Refusal("erased")
        return Reply(Question(one=known[entry], others=tuple(known[one] for one in others if one in known)))

    return at.gated(
        "page.handoff_questions", work, "intake/handoffs/ask.html", status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        entry=entry, form=form, errors=errors,
        groups=groups(), urgencies=[one for one in Urgency if one is not Urgency.UNKNOWN],
        countries=places(holder.country, at.words), networks=sorted(at.who.networks),
    )  # fmt: skip


def groups() -> list[tuple[ServiceGroup, list[ServiceType]]]:
    """Kinds of service with their services, in the order of the list."""
    found: dict[ServiceGroup, list[ServiceType]] = {}
    for service, group in GROUP_OF.items():
        found.setdefault(group, []).append(service)
    return sorted(found.items(), key=lambda one: list(ServiceGroup).index(one[0]))


@router.post("/entries/{entry}/handoff")
async def ask(request: Request, entry: UUID, sent: SenderSent) -> Response:
    """Three buttons: look at the answers, change them, send them."""
    step = sent.form.one("step")
    if step == "change":
        return _questions(request, sent, entry, sent.form, {})
    try:
        body = _body(sent, entry)
        if step != "send":
            return _check(request, sent, entry, body)
        made = await api.request_handoff(request, body, sent.command())
    except Incomplete as error:
        return _questions(request, sent, entry, sent.form, error.errors)
    except Refusal as refusal:
        if refusal.code in _STEPS:  # something has changed since the answers were checked
            return _check(request, sent, entry, body)
        wrong = forms.at_field(refusal, _ABOUT, {"duplicate": DUPLICATE})
        return _questions(request, sent, entry, sent.form, wrong.errors)
    return sent.see(f"{LIST}/{id_in(made)}", done="requested")


def _check(request: Request, sent: Sent, entry: UUID, body: HandoffBody) -> Response:
    """The answers once more, before they are sent; or which step is missing, and where it is taken."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        known = {one.entry: one for one in await _known(tx, holder, body.members)}
        if known.keys() != set(body.members):
            raise Refusal("party")
        return Reply(Checked(asked=body, people=tuple(known[one] for one in body.members)))

    return sent.gated("page.handoff_check", work, "intake/handoffs/check.html", entry=entry, kept=_kept(sent.form))


def _kept(form: Form) -> list[tuple[str, str]]:
    return [(name, value) for name, value in form.kept() if name != "step"]


def _body(sent: Sent, entry: UUID) -> HandoffBody:
    """The answers as the API takes them. Raises Incomplete."""
    form = sent.form
    networks = sorted(sent.who.networks)
    errors: dict[str, str] = {}
    need_by: datetime | None = None
    try:
        need_by = _need_by(sent)
    except Incomplete as error:
        errors.update(error.errors)
    answers: dict[str, Any] = {
        "network": form.some("network") or (str(networks[0]) if len(networks) == 1 else None),
        "service_type": form.some("service_type"), "urgency": form.some("urgency"), "area": form.some("area"),
        "members": list(dict.fromkeys([str(entry), *form.all("members")])), "need_by": need_by,
    }  # fmt: skip
    try:
        body = forms.read(HandoffBody, answers)
    except Incomplete as error:
        raise Incomplete({**error.errors, **errors}) from None
    if not known_area(body.area):
        errors["area"] = forms.SAID["enum"]
    if need_by is not None and need_by <= sent.now:
        errors["need_by"] = forms.said_of(Refusal("need-by-past"))
    if errors:
        raise Incomplete(errors)
    return body


def _need_by(sent: Sent) -> datetime | None:
    """Day and time by the clock of the page. Raises Incomplete."""
    day, clock = sent.form.one("day"), sent.form.one("time")
    if not day and not clock:
        return None
    try:
        return sent.words.moment(datetime.combine(date.fromisoformat(day), time.fromisoformat(clock)))
    except ValueError:
        raise Incomplete({"need_by": forms.SAID["datetime_parsing"]}) from None


async def _known(tx: Tx, holder: Holder, entries: Sequence[UUID]) -> list[Known]:
    """These people of the organisation's own; who was erased is not among them."""
    opened = await cases.open_own(tx, holder.keys, entries)
    people = await consents.people(tx, {entry: one.adult_from for entry, one in opened.items()})
    open_cases = await cases.open_cases(tx, list(opened))
    found: list[Known] = []
    for entry in entries:
        if entry not in opened:
            continue
        row, fields = opened[entry].entry, opened[entry].fields
        missing = None if entry in open_cases else "party"
        try:
            domain.may_request(people[entry], tx.now)
        except Refusal as refusal:
            missing = refusal.code
        found.append(
            Known(entry=entry, name=fields.name, age=fields.band, met=row.happened_at, area=row.area, missing=missing)
        )
    return found
