"""What would each organisation get? The gate's own answer for every organisation of the network, before anything is asked
of anybody. Nothing leaves by it, so no disclosure is written down.

Who has a place for a service is the network's to know; so everybody is listed, those alike together: what each would get
when asked and once it has accepted, and what comes back of it, each with what would not be told and why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.questions import OrganisationFacts
from schemas.vocabulary import GROUP_OF, ConsentDecision, Purpose, ServiceType
from services.intake.cases import store
from services.intake.cases.api import SCOPE
from services.intake.cases.domain import PersonFields, adult_from
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from services.intake.consent import store as consents
from services.intake.disclosure import crowd, rarity
from services.intake.disclosure.domain import Person, Rule, allowed, as_offer, disclose
from services.intake.disclosure.handlers import Holder
from services.intake.disclosure.rulebook import Ask, Rules
from services.intake.handoffs.domain import may_request
from services.intake.handoffs.request_pages import groups
from services.intake.rules import store as rules
from spean.db import Tx
from spean.http import Body, Reply, View
from spean.names import fits, place_of
from spean.problem import Refusal
from spean.web import forms, lists, network
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

router = page_router("entries' pages")
_TEMPLATE = "intake/cases/preview.html"
# Of those alike: who wants to know of another searches for its name.
_NAMES_MOST = 20
Verdicts = Mapping[str, Rule]


class _Service(Body):
    service_type: ServiceType


class Refused(View):
    """Fields that would not be told, for one reason."""

    rule: Rule
    fields: tuple[str, ...]


class Stage(View):
    """What would be told, without what is not written yet, and what would not."""

    told: tuple[str, ...]
    refused: tuple[Refused, ...]


class Alike(View):
    """Organisations that would get the same. `offer`: as soon as they are asked, if they may be (`askable`); `packet`: once
    they have accepted; `back`: what we would then see of them. `missing`: what the person has to decide for their service.
    `more`: how many there are beside those named."""

    names: tuple[str, ...]
    more: int
    askable: bool
    missing: ConsentDecision | None
    offer: Stage
    packet: Stage
    back: Stage


class Preview(View):
    """`every`: how many organisations there are. `said`: what is missing before anybody can be asked for this service, in
    the words of the refusal, and the decision that it is about."""

    alike: tuple[Alike, ...]
    every: int
    said: str | None
    decision: ConsentDecision | None


@router.get("/entries/{entry}/who-gets-what")
async def ask(entry: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    async with at.door.db.transaction("preview.ask", org=at.who.org) as tx:
        await store.find_entry(tx, entry)
    return at.page(_TEMPLATE, **_shown(entry, Form()), body=None, directory=None)


@router.post("/entries/{entry}/who-gets-what")
async def show(request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """Sent as a form, so that the service stands in no address."""
    holder: Holder = request.app.state.holder
    try:
        service = forms.read(_Service, {"service_type": sent.form.some("service_type")}).service_type
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
        others = [one.organisation for one in facts]
        group, networks = GROUP_OF[service], sent.who.networks
        sender = _Sender(
            sent.who.facts, sorted(networks), service, holder.country, tx.now, fields, person,
            await crowd.would_leave_out(tx, rarity.looks([fields], found.area)),
            await rules.in_force(tx, networks, {group}, {sent.who.org}, others),
            await rules.in_force(tx, networks, {group}, others, {sent.who.org}),
        )  # fmt: skip
        names = {one.id: one.name for one in listed if fits(typed, one.name)}
        told = {one.organisation: sender.would_tell(one) for one in facts if one.organisation in names}
        said, decision = _before_asking(person, service, tx.now)
        return Reply(Preview(
            alike=tuple(_alike(told, names, fields)), every=len(listed), said=said, decision=decision
        ))  # fmt: skip

    return sent.gated("page.preview", work, _TEMPLATE, **_shown(entry, sent.form), directory=directory)


@dataclass(frozen=True, slots=True)
class _Told:
    """The gate's verdicts for one organisation, stage by stage."""

    offer: Verdicts
    packet: Verdicts
    back: Verdicts
    missing: ConsentDecision | None

    @property
    def key(self) -> tuple[object, ...]:
        stages = (self.offer, self.packet, self.back)
        return (self.missing, *(tuple(sorted(one.items())) for one in stages))


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who would ask, in which networks, for which service, for whom. `steps`: how much an offer would leave out now; `there`
    are the rules for what is told, `back` those for what comes back."""

    facts: OrganisationFacts
    networks: Sequence[UUID]
    service: ServiceType
    country: str
    now: datetime
    fields: PersonFields
    person: Person
    steps: int
    there: Rules
    back: Rules

    def would_tell(self, to: OrganisationFacts) -> _Told:
        """In several networks, what any of them would let through."""
        offers, packets, back = [], [], []
        own, group = self.facts, GROUP_OF[self.service]
        for id_ in self.networks:
            rest = (group, self.country, self.now, self.service)
            offer = Ask(own.organisation, id_, to, "offer", Purpose.REFERRAL, *rest)
            packet = Ask(own.organisation, id_, to, "packet", Purpose.SERVICE_PROVISION, *rest)
            asked_back = Ask(to.organisation, id_, own, "placement", Purpose.FOLLOW_UP, *rest)
            (bands,) = as_offer([disclose(OFFER_FIELDS, offer, self.person, self.there)])
            offers.append(rarity.spared(bands, self.fields, self.steps))
            packets.append(disclose(PACKET_FIELDS, packet, self.person, self.there))
            back.append(disclose(PLACEMENT_FIELDS, asked_back, self.person, self.back))
        undecided = self.person.undecided(self.service, self.now, to.type)
        return _Told(_any(offers), _any(packets), _any(back), undecided[1] if undecided else None)


def _before_asking(person: Person, service: ServiceType, now: datetime) -> tuple[str | None, ConsentDecision | None]:
    """What keeps a hand-off for this service from being asked for, whoever would be asked; and the decision it is about."""
    try:
        may_request(person, now, service)
    except Refusal as refusal:
        undecided = person.undecided(service, now)
        about = undecided[1] if undecided and refusal.code in {"decision-missing", "family-unchecked"} else None
        return forms.said_of(refusal), about
    return None, None


def _any(answers: Sequence[Verdicts]) -> Verdicts:
    return {
        field: min((one[field] for one in answers), key=lambda rule: rule is not Rule.ALLOWED)
        for field in (answers[0] if answers else ())
    }


def _alike(told: Mapping[UUID, _Told], names: Mapping[UUID, str], person: PersonFields) -> list[Alike]:
    """Organisations with the same answers together; who would get most comes first."""
    same: dict[tuple[object, ...], list[UUID]] = defaultdict(list)
    for id_, one in told.items():
        same[one.key].append(id_)
    written = person.shown(set(PACKET_FIELDS))
    found: list[Alike] = []
    for ids in same.values():
        one = told[ids[0]]
        called = tuple(sorted((names[id_] for id_ in ids), key=place_of))
        found.append(Alike(
            names=called[:_NAMES_MOST], more=len(called[_NAMES_MOST:]), missing=one.missing,
            askable=one.offer.get("needs") is Rule.ALLOWED, offer=_stage(OFFER_FIELDS, one.offer, written),
            packet=_stage(PACKET_FIELDS, one.packet, written),
            back=_stage(PLACEMENT_FIELDS, one.back, dict.fromkeys(PLACEMENT_FIELDS)),
        ))  # fmt: skip
    return sorted(found, key=lambda one: (not one.askable, -len(one.packet.told), one.names))


def _stage(fields: Sequence[str], verdicts: Verdicts, written: Mapping[str, Any]) -> Stage:
    """`written`: what there is to be told."""
    reasons: dict[Rule, list[str]] = defaultdict(list)
    for field in fields:
        rule = verdicts.get(field, Rule.NEED_TO_KNOW)
        if rule is not Rule.ALLOWED:
            reasons[rule].append(field)
    return Stage(
        told=tuple(field for field in fields if field in allowed(verdicts) and field in written),
        refused=tuple(Refused(rule=rule, fields=tuple(some)) for rule, some in reasons.items()),
    )


def _shown(entry: UUID, form: Form) -> dict[str, Any]:
    return {"entry": entry, "form": form, "groups": groups()}
