"""Entries and cases: somebody was met; the case opens when the person agrees to the service."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from services.intake.cases import store
from services.intake.cases.domain import PersonFields, adult_from, described_otherwise, same_age
from services.intake.cases.store import Entry
from services.intake.consent import handlers as consent
from services.intake.consent import store as consents
from services.intake.disclosure import crowd
from services.intake.disclosure.domain import Rule, standing
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import stopping
from services.intake.handoffs import store as handoffs
from services.intake.keystore.store import KeyStore
from spean.db import Tx
from spean.ids import opaque_id
from spean.problem import Refusal


async def enter(tx: Tx, keys: KeyStore, id_: UUID, channel: str, happened_at: datetime, area: str,
                person: PersonFields, screening: UUID | None = None) -> Entry:  # fmt: skip
    """Write an entry down. The person's key is made before the row, in the key store. Raises Refusal `invalid`."""
    assert tx.org is not None  # noqa: S101 (entries are always an organisation's)
    if happened_at > tx.now:
        raise Refusal("invalid", errors=[{"at": "body.happened_at", "why": "in_the_future"}])
    await keys.make(id_)
    sealed = await store.sealed_fields(keys, id_, person)
    entry = Entry(id_, tx.org, channel, happened_at, area, screening, sealed, 1, 1)
    await store.insert_entry(tx, entry)
    return entry


async def lock(tx: Tx, entry_id: UUID) -> Entry:
    """Lock a person's entry for a change that the gate depends on: nobody reads them out meanwhile. Raises Refusal
    `not-found`."""
    await store.find_entry(tx, entry_id)
    await consents.lock_fence(tx, entry_id)
    return await store.lock_entry(tx, entry_id)


async def correct(tx: Tx, holder: Holder, entry: Entry, person: PersonFields) -> None:
    """Replace a locked entry's fields. Somebody found to be a minor is under the guardian rule at once; where an offer
    would describe them otherwise, whoever was asked is asked anew. Raises Refusal `erased`."""
    before = await store.opened_fields(holder.keys, entry)
    await store.save_sealed(tx, entry.id, await store.sealed_fields(holder.keys, entry.id, person))
    if not same_age(before, person):
        await store.set_age_at(tx, entry.id)
        await consent.watch(tx, holder, entry.id)
    if described_otherwise(before, person):
        await crowd.undecide(tx, entry.id)
        await stopping.look_again(tx, holder, await handoffs.lock_concerned(tx, entry.id), anew=True)


async def open_case(tx: Tx, keys: KeyStore, entry: Entry) -> UUID:
    """Open a locked entry's case, with their consent or what stands in for it. Raises Refusal `service-consent`, `guardian`, `duplicate`, `erased`."""
    fields = await store.opened_fields(keys, entry)
    person = (await consents.people(tx, {entry.id: adult_from(fields, entry.age_at)}))[entry.id]
    stands_in = bool(person.obliged(tx.now) or person.spoken_for(tx.now))
    rule = Rule.FENCED if person.service_shut else standing(person.service, person, tx.now)
    if stands_in:
        rule = Rule.ALLOWED
    if rule is Rule.GUARDIAN:
        raise Refusal("guardian", rule=rule)
    if rule is not Rule.ALLOWED:
        raise Refusal("service-consent", rule=Rule.SERVICE_CONSENT if rule is Rule.SHARING_CONSENT else rule)
    id_ = opaque_id()
    await store.insert_case(tx, id_, entry.id)
    return id_
