"""What would each organisation get? The gate's own answer for every organisation of the network, before anything is asked
of anybody. Nothing leaves by it, so no disclosure is written down.

Who has a place for a kind of service is the network's to know; so everybody is listed, those alike together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.questions import OrganisationFacts
from schemas.vocabulary import Purpose, ServiceGroup
from services.intake import network
from services.intake.cases import store
from services.intake.cases.api import SCOPE
from services.intake.cases.domain import PersonFields, adult_from
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS
from services.intake.consent import store as consents
from services.intake.disclosure.domain import Person, Rule, allowed, as_offer, disclose
from services.intake.disclosure.handlers import Holder
from services.intake.disclosure.rulebook import Ask, Rules
from services.intake.rules import store as rules
from spean.db import Tx
from spean.http import Body, Reply, View
from spean.names import fits, place_of
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

router = page_router("entries' pages")
_TEMPLATE = "intake/cases/preview.html"
# Of those alike: who wants to know of another searches for its name.
_NAMES_MOST = 20
Verdicts = Mapping[str, Rule]


class _Kind(Body):
    kind: ServiceGroup


class Refused(View):
    """Fields that would not be told, for one reason."""

    rule: Rule
    fields: tuple[str, ...]


class Alike(View):
    """Organisations that would get the same. `offer`: as soon as they are asked, if they may be (`askable`); `packet`: once
    they have accepted. What is allowed and not written yet is in neither. `more`: how many there are beside those named."""

    names: tuple[str, ...]
    more: int
    askable: bool
    offer: tuple[str, ...]
    packet: tuple[str, ...]
    refused: tuple[Refused, ...]


class Preview(View):
    """`every`: how many organisations there are."""

    alike: tuple[Alike, ...]
    every: int


@router.get("/entries/{entry}/who-gets-what")
async def ask(entry: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    async with at.door.db.transaction("preview.ask", org=at.who.org) as tx:
        await store.find_entry(tx, entry)
    return at.page(_TEMPLATE, **_shown(entry, Form()), body=None, directory=None)


@router.post("/entries/{entry}/who-gets-what")
async def show(request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """Sent as a form, so that the kind of service stands in no address."""
    holder: Holder = request.app.state.holder
    try:
        kind = forms.read(_Kind, {"kind": sent.form.some("kind")}).kind
    except Incomplete as error:
        return sent.again(_TEMPLATE, error, **_shown(entry, sent.form), body=None, directory=None)
    directory = await network.directory(request)
    typed = sent.form.one("q")[: lists.TYPED_MOST]
    listed = [one for one in directory.organisations.values() if one.id != sent.who.org]

    async def work(tx: Tx) -> Reply:
        await consents.hold(tx, [entry])
        found = await store.find_entry(tx, entry)
        fields = await store.opened_fields(holder.keys, found)
        person = (await consents.people(tx, {entry: adult_from(fields, found.age_at)}))[entry]
        facts = [one.facts for one in listed]  # with who is suspended, as of now
        standing = await rules.in_force(
            tx, sent.who.networks, {kind}, {sent.who.org}, [one.organisation for one in facts]
        )
        sender = _Sender(sent.who.org, sorted(sent.who.networks), kind, holder.country, tx.now)
        verdicts = {one.organisation: sender.would_tell(one, person, standing) for one in facts}
        names = {one.id: one.name for one in listed if fits(typed, one.name)}
        told = {id_: verdict for id_, verdict in verdicts.items() if id_ in names}
        return Reply(Preview(alike=tuple(_alike(told, names, fields)), every=len(listed)))

    return sent.gated("page.preview", work, _TEMPLATE, **_shown(entry, sent.form), directory=directory)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who would ask, in which networks, for which kind of service."""

    org: UUID
    networks: Sequence[UUID]
    kind: ServiceGroup
    country: str
    now: datetime

    def would_tell(self, to: OrganisationFacts, person: Person, standing: Rules) -> tuple[Verdicts, Verdicts]:
        """The gate's answers for an offer and for a packet; in several networks, what any of them would let through."""
        offers, packets = [], []
        for id_ in self.networks:
            ask = partial(Ask, self.org, id_, to, group=self.kind, country=self.country, now=self.now)
            offer = ask(stage="offer", purpose=Purpose.REFERRAL)
            packet = ask(stage="packet", purpose=Purpose.SERVICE_PROVISION)
            offers += as_offer([disclose(OFFER_FIELDS, offer, person, standing)])
            packets.append(disclose(PACKET_FIELDS, packet, person, standing))
        return _any(offers), _any(packets)


def _any(answers: Sequence[Verdicts]) -> Verdicts:
    return {
        field: min((one[field] for one in answers), key=lambda rule: rule is not Rule.ALLOWED)
        for field in (answers[0] if answers else ())
    }


def _alike(verdicts: Mapping[UUID, tuple[Verdicts, Verdicts]], names: Mapping[UUID, str],
           person: PersonFields) -> list[Alike]:  # fmt: skip
    """Organisations with the same answers together; who would get most comes first."""
    same: dict[tuple[tuple[tuple[str, Rule], ...], ...], list[UUID]] = defaultdict(list)
    for id_, answers in verdicts.items():
        same[tuple(tuple(sorted(one.items())) for one in answers)].append(id_)
    written = person.shown(set(PACKET_FIELDS))
    found: list[Alike] = []
    for ids in same.values():
        offer, packet = verdicts[ids[0]]
        called = tuple(sorted((names[one] for one in ids), key=place_of))
        reasons: dict[Rule, list[str]] = defaultdict(list)
        for field in PACKET_FIELDS:
            if packet.get(field, Rule.NEED_TO_KNOW) is not Rule.ALLOWED:
                reasons[packet.get(field, Rule.NEED_TO_KNOW)].append(field)
        found.append(Alike(
            names=called[:_NAMES_MOST], more=len(called[_NAMES_MOST:]), askable=offer.get("needs") is Rule.ALLOWED,
            offer=_told(OFFER_FIELDS, offer, written), packet=_told(PACKET_FIELDS, packet, written),
            refused=tuple(Refused(rule=rule, fields=tuple(fields)) for rule, fields in reasons.items()),
        ))  # fmt: skip
    return sorted(found, key=lambda one: (not one.askable, -len(one.packet), one.names))


def _told(fields: Sequence[str], verdicts: Verdicts, written: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(field for field in fields if field in allowed(verdicts) and field in written)


def _shown(entry: UUID, form: Form) -> dict[str, Any]:
    return {"entry": entry, "form": form, "kinds": [one for one in ServiceGroup if one is not ServiceGroup.UNKNOWN]}
