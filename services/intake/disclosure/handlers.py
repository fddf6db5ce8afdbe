"""Reading persons out: the one way by which a field leaves the holder.

Whoever reads first holds the fences of everybody concerned (`consent.store.hold`) until the answer has left
(`spean.gated`), and decides from what is read after that; whoever stops locks a fence alone. A page of offers or of
hand-offs takes as many statements as a single one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from schemas import questions as q
from schemas.vocabulary import OrganisationStatus, Purpose
from services.intake.cases import store as cases
from services.intake.cases.domain import PersonFields, fits
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from services.intake.consent import store as consents
from services.intake.disclosure import crowd, rarity, store
from services.intake.disclosure.domain import ERASED, Person, Rule, allowed, as_offer, disclose, grounds, together
from services.intake.disclosure.rulebook import Ask, Rules, Stage
from services.intake.disclosure.store import Answer
from services.intake.handoffs import store as handoffs
from services.intake.handoffs import yeses
from services.intake.handoffs.domain import shown_state
from services.intake.handoffs.store import Handoff, Packet
from services.intake.keystore.store import KeyStore
from services.intake.rules import store as rules
from spean.db import Tx

Verdicts = dict[str, Rule]


@dataclass(frozen=True, slots=True)
class Holder:
    """This holder: its key store and the country it is in."""

    keys: KeyStore
    country: str


@dataclass(frozen=True, slots=True)
class Member:
    """A person of a party, as of a version of their entry. `key` opens what is sealed for them; None where they were
    erased."""

    entry: UUID
    key: bytes | None
    fields: PersonFields
    person: Person
    version: int


@dataclass(frozen=True, slots=True)
class Party:
    """A hand-off with its people, in the sender's order."""

    handoff: Handoff
    members: tuple[Member, ...]

    @property
    def fields(self) -> list[PersonFields]:
        return [member.fields for member in self.members]

    def ask(self, tx: Tx, holder: Holder, recipient: q.OrganisationFacts, stage: Stage, purpose: Purpose) -> Ask:
        """A question about these people, under the sender's agreement with the recipient."""
        h = self.handoff
        return Ask(h.org, h.network, recipient, stage, purpose, h.group, holder.country, tx.now, h.service_type)

    def ask_back(self, tx: Tx, holder: Holder, receiver: UUID, sender: q.OrganisationFacts) -> Ask:
        """A question about what the receiver's side says, which goes to the sender: the receiver's agreement counts."""
        h = self.handoff
        return Ask(
            receiver, h.network, sender, "placement", Purpose.FOLLOW_UP, h.group, holder.country, tx.now, h.service_type
        )

    def judge(self, ask: Ask, fields: Collection[str], in_force: Rules) -> list[Verdicts]:
        """The gate's verdicts, member by member."""
        return [disclose(fields, ask, member.person, in_force) for member in self.members]

    def answers(
        self, ask: Ask, verdicts: Sequence[Verdicts], in_force: Rules, packet: Packet | None = None
    ) -> list[Answer]:
        """What is written down of an answer to `ask`; `packet` where there is one that it is about."""
        h, counting = self.handoff, in_force.counting(ask).ids
        # What stood in for consent is written down beside the rules.
        return [
            Answer(
                member.entry,
                h.id,
                h.org,
                ask,
                member.person,
                told,
                sorted({*counting, *grounds(ask, member.person).bases}),
                f"{member.version}/{_work(h, packet, ask.stage, allowed(told))}",
            )
            for member, told in zip(self.members, verdicts, strict=True)
        ]


def _work(h: Handoff, packet: Packet | None, stage: Stage, told: set[str]) -> str:
    """What is told beside the person's fields, as far as it is told: the sender sees where a row ends, and another begins,
    and would learn by it what they may not know."""
    if stage != "placement":
        return f"{packet.version if packet else None}"
    word = shown_state(h.state, placement="arrival" in told, ending=h.ending)
    verified = h.arrival_verified if "arrival" in told else None
    offer = h.offer if "receiver" in told else None
    return f"{word}/{verified}/{offer}/{packet.version if packet and 'address' in told else None}"


async def hold(tx: Tx, ids: Collection[UUID]) -> None:
    """Hold the fences of everybody in these hand-offs until this transaction ends."""
    parties = await handoffs.members(tx, ids)
    await consents.hold(tx, {entry for members in parties.values() for entry in members})


async def load(tx: Tx, holder: Holder, found: Sequence[Handoff]) -> list[Party]:
    """The people of these hand-offs with what the gate needs, as they are now. An erased person has stopped everything."""
    members = await handoffs.members(tx, [handoff.id for handoff in found])
    entries = {entry for party in members.values() for entry in party}
    opened = await cases.open_all(tx, holder.keys, entries)
    people = await consents.people(tx, {entry: one.adult_from for entry, one in opened.items()})

    def member(entry: UUID) -> Member:
        one = opened.get(entry)
        if one is None:
            return Member(entry, None, PersonFields(), ERASED, 0)
        return Member(entry, one.key, one.fields, people[entry], one.entry.version)

    return [Party(handoff, tuple(map(member, members[handoff.id]))) for handoff in found]


async def held(tx: Tx, holder: Holder, id_: UUID) -> Party | None:
    """One hand-off's people, their fences held. None where it is not known here or has ended, and where nobody is known to
    be in it (`services.intake.restored`)."""
    await hold(tx, [id_])
    found = await handoffs.find_all(tx, [id_])
    if not found or found[0].state in handoffs.ENDED:
        return None
    party = (await load(tx, holder, found))[0]
    return party if party.members else None


async def current_facts(tx: Tx, told: Sequence[q.OrganisationFacts]) -> list[q.OrganisationFacts]:
    """The facts that came with a question, unless this holder has heard of a suspension already."""
    suspended = await handoffs.suspended_among(tx, [facts.organisation for facts in told])
    update = {"status": OrganisationStatus.SUSPENDED}
    return [facts.model_copy(update=update) if facts.organisation in suspended else facts for facts in told]


async def in_force(tx: Tx, parties: Sequence[Party], recipients: Collection[UUID]) -> Rules:
    """The rules that stand now for what the senders of these hand-offs disclose to these organisations."""
    found = [party.handoff for party in parties]
    networks, senders = {one.network for one in found}, {one.org for one in found}
    return await rules.in_force(tx, networks, {one.group for one in found}, senders, recipients)


async def next_candidate(tx: Tx, holder: Holder, question: q.NextCandidateQuestion) -> q.NextCandidateAnswer:
    """The first candidate that may be asked: everybody's functional needs may be told there, and its own rules fit
    everybody. A hand-off that has ended, or is not known here, has none. Refusals are written down for the sender; who it
    is, is kept before the network hears of it: they may read the offer, and answer, as soon as it is sent."""
    party = await held(tx, holder, question.referral)
    if party is None:
        return q.NextCandidateAnswer(place=None)
    candidates = [one for one in question.candidates if party.handoff.service_type in one.service_types]
    facts = await current_facts(tx, [one.organisation for one in candidates])
    standing = await in_force(tx, [party], {one.organisation for one in facts})
    refused: list[Answer] = []
    chosen: UUID | None = None
    for candidate, organisation in zip(candidates, facts, strict=True):
        refusals = _refusals(tx, holder, party, organisation, standing)
        refused += refusals
        if not refusals and _all_fit(party, candidate.eligibility):
            await yeses.remember(tx, party.handoff.id, organisation.organisation, question.offer)
            await handoffs.remember_asked(tx, party.handoff.id, organisation)
            await crowd.decide(tx, party.handoff.id, rarity.looks(party.fields, party.handoff.area))
            chosen = candidate.place
            tx.unkept |= str(chosen) not in tx.on_record
            tx.on_record.add(str(chosen))
            break
    await store.write(tx, refused)
    return q.NextCandidateAnswer(place=chosen)


async def may_accept(tx: Tx, holder: Holder, question: q.MayAcceptQuestion) -> q.MayAcceptAnswer:
    """Everything that could have changed since the offer is looked at again."""
    party = await held(tx, holder, question.referral)
    organisation = (await current_facts(tx, [question.organisation]))[0]
    if party is None or not await handoffs.asked_among(tx, [question.referral], organisation.organisation):
        return q.MayAcceptAnswer(allowed=False)
    standing = await in_force(tx, [party], [organisation.organisation])
    refusals = _refusals(tx, holder, party, organisation, standing)
    await store.write(tx, refusals)
    if refusals or not _all_fit(party, question.eligibility):
        return q.MayAcceptAnswer(allowed=False)
    await handoffs.remember_asked(tx, party.handoff.id, organisation)
    return q.MayAcceptAnswer(allowed=True)


def _refusals(tx: Tx, holder: Holder, party: Party, organisation: q.OrganisationFacts, standing: Rules) -> list[Answer]:
    """Why the party may not be offered there; empty where it may."""
    ask = party.ask(tx, holder, organisation, "offer", Purpose.REFERRAL)
    verdicts = as_offer(party.judge(ask, OFFER_FIELDS, standing))
    return [] if offerable(verdicts) else party.answers(ask, verdicts, standing)


def offerable(verdicts: Sequence[Verdicts]) -> bool:
    """Nothing is told of nobody."""
    return bool(verdicts) and all(told["needs"] is Rule.ALLOWED for told in verdicts)


def _all_fit(party: Party, house: q.Eligibility) -> bool:
    return all(fits(member.fields, house) for member in party.members)


async def readable_offers(tx: Tx, holder: Holder, question: q.ReadableOffersQuestion) -> q.ReadableOffersAnswer:
    """Each offer's content in coarse bands that enough people share, or that it is not readable; the same words whatever the
    cause."""
    ids = {one.referral for one in question.offers}
    await hold(tx, ids)
    organisation = (await current_facts(tx, [question.organisation]))[0]
    asked = await handoffs.asked_among(tx, ids, organisation.organisation)
    found = [one for one in await handoffs.find_all(tx, asked) if one.state not in handoffs.ENDED]
    parties = {party.handoff.id: party for party in await load(tx, holder, found)}
    standing = await in_force(tx, list(parties.values()), [organisation.organisation])
    left_out = await crowd.left_out(tx, parties)
    shown: list[q.OfferContent] = []
    told: list[Answer] = []
    for one in question.offers:
        party = parties.get(one.referral)
        if party is None:
            shown.append(q.OfferContent(offer=one.offer, readable=False))
            continue
        ask = party.ask(tx, holder, organisation, "offer", Purpose.REFERRAL)
        steps = left_out.get(one.referral, rarity.STEPS)
        verdicts = [
            rarity.spared(verdict, fields, steps)
            for verdict, fields in zip(as_offer(party.judge(ask, OFFER_FIELDS, standing)), party.fields, strict=True)
        ]
        told += party.answers(ask, verdicts, standing)
        shown.append(_content(one.offer, party, verdicts))
    await store.write(tx, told)
    return q.ReadableOffersAnswer(offers=tuple(shown))


def _content(offer: UUID, party: Party, verdicts: Sequence[Verdicts]) -> q.OfferContent:
    if not offerable(verdicts):
        return q.OfferContent(offer=offer, readable=False)
    h = party.handoff
    shown = rarity.shown(party.fields, [allowed(told) for told in verdicts])
    members = tuple(map(q.MemberContent.model_validate, shown))
    return q.OfferContent(
        offer=offer, readable=True, service_type=h.service_type, urgency=h.urgency, area=h.area, need_by=h.need_by,
        members=members,
    )  # fmt: skip


async def content(
    tx: Tx, holder: Holder, party: Party, packet: Packet, facts: q.OrganisationFacts
) -> list[dict[str, object]]:
    """What the accepting organisation may read now, person by person: one who stopped empties their own section only.
    The party's fences are held."""
    organisation = (await current_facts(tx, [facts]))[0]
    ask = party.ask(tx, holder, organisation, "packet", Purpose.SERVICE_PROVISION)
    standing = await in_force(tx, [party], [organisation.organisation])
    verdicts = party.judge(ask, PACKET_FIELDS, standing)
    await store.write(tx, party.answers(ask, verdicts, standing, packet))
    return [member.fields.shown(allowed(told)) for member, told in zip(party.members, verdicts, strict=True)]


async def placement(tx: Tx, holder: Holder, packets: Mapping[UUID, Packet], parties: Sequence[Party],
                    sender: q.OrganisationFacts) -> dict[UUID, set[str]]:  # fmt: skip
    """Which placement fields the sender may see of each hand-off (hand-off → packet): those that every member allows.
    What the receiver's side says goes to the sender, so the agreement that counts is the receiver's with the sender. The
    parties' fences are held."""
    concerned = [party for party in parties if party.handoff.id in packets]
    receivers = {packet.organisation for packet in packets.values()}
    networks, groups = {one.handoff.network for one in concerned}, {one.handoff.group for one in concerned}
    standing = await rules.in_force(tx, networks, groups, receivers, [sender.organisation])
    seen: dict[UUID, set[str]] = {party.handoff.id: set() for party in parties}
    told: list[Answer] = []
    for party in concerned:
        h, packet = party.handoff, packets[party.handoff.id]
        ask = party.ask_back(tx, holder, packet.organisation, sender)
        verdicts = together(party.judge(ask, PLACEMENT_FIELDS, standing))
        told += party.answers(ask, verdicts, standing, packet)
        seen[h.id] = allowed(verdicts[0]) if verdicts else set()
    await store.write(tx, told)
    return seen


async def unnamed(tx: Tx, holder: Holder, id_: UUID, sender: q.OrganisationFacts) -> set[UUID]:
    """Who was asked about a hand-off and may not be named to its sender: the field `receiver`, decided for each of them.
    The fences are held from here on. Raises Refusal `not-found`."""
    await hold(tx, [id_])
    party = (await load(tx, holder, [await handoffs.find_handoff(tx, id_)]))[0]
    asked, h = await handoffs.asked_of(tx, id_), party.handoff
    standing = await rules.in_force(tx, {h.network}, {h.group}, asked, [sender.organisation])
    named: set[UUID] = set()
    for organisation in asked:
        ask = party.ask_back(tx, holder, organisation, sender)
        if party.members and allowed(together(party.judge(ask, ("receiver",), standing))[0]):
            named.add(organisation)
    return asked - named
