"""Reading persons out: the one way by which a field leaves the holder.

Whoever reads holds the person's fence shared until the answer has left (`spean.gated`); whoever stops holds it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from schemas import questions as q
from schemas.vocabulary import OrganisationStatus, Purpose
from services.intake.cases import store as cases
from services.intake.cases.domain import PersonFields, fits
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from services.intake.consent import store as consents
from services.intake.disclosure import store
from services.intake.disclosure.domain import Ask, Person, Rule, Rules, Stage, disclose
from services.intake.handoffs import store as handoffs
from services.intake.handoffs.store import Handoff
from services.intake.keystore.store import Destroyed, KeyStore
from services.intake.rules import store as rules
from spean.crypto import Unopenable
from spean.db import Tx
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Holder:
    """This holder: its key store and the country it is in."""

    keys: KeyStore
    country: str


@dataclass(frozen=True, slots=True)
class Member:
    entry: UUID
    fields: PersonFields
    person: Person


@dataclass(frozen=True, slots=True)
class Party:
    """A hand-off with its people, whose fences this transaction holds (shared), and the rules in force."""

    handoff: Handoff
    members: tuple[Member, ...]
    rules: Rules


async def load(tx: Tx, holder: Holder, handoff: Handoff) -> Party:
    """Lock the fences of everybody in a hand-off (shared, ids ascending) and read what the gate needs.

    Raises Refusal `not-found` where a person has been erased.
    """
    entries = await handoffs.members(tx, handoff.id)
    for entry in sorted(entries):
        await consents.lock_fence(tx, entry, share=True)
    members = []
    for entry in entries:
        try:
            fields = await cases.opened_fields(holder.keys, await cases.find_entry(tx, entry))
        except (Destroyed, Unopenable):
            raise Refusal("not-found") from None
        members.append(Member(entry, fields, await consents.person(tx, entry, minor=fields.minor)))
    return Party(handoff, tuple(members), await rules.in_force(tx, handoff.org, handoff.group))


async def current_facts(tx: Tx, facts: q.OrganisationFacts) -> q.OrganisationFacts:
    """The facts that came with a question, unless this holder has heard of a suspension already."""
    if await handoffs.is_suspended(tx, facts.organisation):
        return facts.model_copy(update={"status": OrganisationStatus.SUSPENDED})
    return facts


def asked(holder: Holder, party: Party, recipient: q.OrganisationFacts, stage: Stage, purpose: Purpose, tx: Tx) -> Ask:
    return Ask(recipient, stage, purpose, party.handoff.group, holder.country, tx.now)


async def read(tx: Tx, party: Party, ask: Ask, fields: tuple[str, ...]) -> list[dict[str, object]]:
    """For each member the fields that may go to the asker now; the gate's answer is written down first."""
    shown: list[dict[str, object]] = []
    for member in party.members:
        verdicts = disclose(fields, ask, member.person, party.rules)
        await store.insert(tx, member.entry, party.handoff.id, party.handoff.org, ask, member.person, verdicts)
        shown.append(member.fields.shown({field for field, rule in verdicts.items() if rule is Rule.ALLOWED}))
    return shown


async def may_be_asked(tx: Tx, holder: Holder, party: Party, facts: q.OrganisationFacts, house: q.Eligibility) -> bool:
    """May the party be offered to this house: everybody's functional needs may be told, and its own rules fit everybody?
    What the gate refuses is written down for the sender."""
    ask = asked(holder, party, facts, "offer", Purpose.REFERRAL, tx)
    allowed = True
    for member in party.members:
        verdicts = disclose(OFFER_FIELDS, ask, member.person, party.rules)
        if verdicts["needs"] is not Rule.ALLOWED:
            await store.insert(tx, member.entry, party.handoff.id, party.handoff.org, ask, member.person, verdicts)
            allowed = False
    return allowed and all(fits(member.fields, house) for member in party.members)


async def next_candidate(tx: Tx, holder: Holder, question: q.NextCandidateQuestion) -> q.NextCandidateAnswer:
    """The first candidate that may be asked. A hand-off that has ended has none."""
    handoff = await handoffs.find_handoff(tx, question.referral)
    if handoff.state in handoffs.ENDED:
        return q.NextCandidateAnswer(place=None)
    party = await load(tx, holder, handoff)
    for candidate in question.candidates:
        if handoff.service_type not in candidate.service_types:
            continue
        facts = await current_facts(tx, candidate.organisation)
        if await may_be_asked(tx, holder, party, facts, candidate.eligibility):
            await handoffs.remember_asked(tx, handoff.id, facts)
            return q.NextCandidateAnswer(place=candidate.place)
    return q.NextCandidateAnswer(place=None)


async def readable_offers(tx: Tx, holder: Holder, question: q.ReadableOffersQuestion) -> q.ReadableOffersAnswer:
    facts = await current_facts(tx, question.organisation)
    found = [await _offer(tx, holder, facts, one) for one in sorted(question.offers, key=lambda one: one.referral)]
    return q.ReadableOffersAnswer(offers=tuple(found))


async def _offer(tx: Tx, holder: Holder, facts: q.OrganisationFacts, reference: q.OfferReference) -> q.OfferContent:
    """One offer's content in coarse bands, or that it is not readable; the same words whatever the cause."""
    hidden = q.OfferContent(offer=reference.offer, readable=False)
    try:
        handoff = await handoffs.find_handoff(tx, reference.referral)
        if handoff.state in handoffs.ENDED or await handoffs.asked_facts(tx, handoff.id, facts.organisation) is None:
            return hidden
        party = await load(tx, holder, handoff)
    except Refusal:
        return hidden
    ask = asked(holder, party, facts, "offer", Purpose.REFERRAL, tx)
    shown = await read(tx, party, ask, OFFER_FIELDS)
    if not all(shown):
        return hidden
    return q.OfferContent(
        offer=reference.offer, readable=True, service_type=handoff.service_type, urgency=handoff.urgency,
        area=handoff.area, need_by=handoff.need_by,
        members=tuple(q.MemberContent.model_validate(one) for one in shown),
    )  # fmt: skip


async def may_accept(tx: Tx, holder: Holder, question: q.MayAcceptQuestion) -> q.MayAcceptAnswer:
    """Everything that could have changed since the offer is looked at again."""
    facts = await current_facts(tx, question.organisation)
    try:
        handoff = await handoffs.find_handoff(tx, question.referral)
        if handoff.state in handoffs.ENDED or await handoffs.asked_facts(tx, handoff.id, facts.organisation) is None:
            return q.MayAcceptAnswer(allowed=False)
        party = await load(tx, holder, handoff)
    except Refusal:
        return q.MayAcceptAnswer(allowed=False)
    allowed = await may_be_asked(tx, holder, party, facts, question.eligibility)
    if allowed:
        await handoffs.remember_asked(tx, handoff.id, facts)
    return q.MayAcceptAnswer(allowed=allowed)


async def packet(tx: Tx, holder: Holder, handoff: Handoff, facts: q.OrganisationFacts) -> list[dict[str, object]]:
    """What the accepting organisation may read now, person by person; empty where sharing was withdrawn."""
    party = await load(tx, holder, handoff)
    ask = asked(holder, party, await current_facts(tx, facts), "packet", Purpose.SERVICE_PROVISION, tx)
    return await read(tx, party, ask, PACKET_FIELDS)


async def placement(tx: Tx, party: Party, ask: Ask, receiver: UUID) -> set[str]:
    """Which placement fields the sender may see: those that every member of the party allows. What the receiver's side
    says goes to the sender, so the agreement that counts is the receiver's with the sender."""
    agreed = await rules.in_force(tx, receiver, party.handoff.group)
    shown = set(PLACEMENT_FIELDS)
    for member in party.members:
        verdicts = disclose(PLACEMENT_FIELDS, ask, member.person, agreed)
        shown &= {field for field, rule in verdicts.items() if rule is Rule.ALLOWED}
    return shown
