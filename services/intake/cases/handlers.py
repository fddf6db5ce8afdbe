"""Entries and cases: somebody was met; the case opens when the person agrees to the service."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from services.intake.cases import store
from services.intake.cases.domain import PersonFields
from services.intake.cases.store import Entry
from services.intake.consent import store as consents
from services.intake.disclosure.domain import Rule, standing
from services.intake.keystore.store import KeyStore
from spean.db import Tx
from spean.ids import opaque_id
from spean.problem import Refusal


async def enter(tx: Tx, keys: KeyStore, id_: UUID, channel: str, happened_at: datetime, area: str,
                person: PersonFields, screening: UUID | None = None) -> Entry:  # fmt: skip
    """Write an entry down. The person's key is made before the row, in the key store."""
    assert tx.org is not None  # noqa: S101 (entries are always an organisation's)
    if happened_at > tx.now:
        raise Refusal("invalid", errors=[{"at": "body.happened_at", "why": "in_the_future"}])
    await keys.make(id_)
    sealed = await store.sealed_fields(keys, id_, person)
    entry = Entry(id_, tx.org, channel, happened_at, area, screening, sealed, 1, 1)
    await store.insert_entry(tx, entry)
    return entry


async def correct(tx: Tx, keys: KeyStore, entry: Entry, person: PersonFields) -> None:
    """Replace a locked entry's fields."""
    await store.save_sealed(tx, entry.id, await store.sealed_fields(keys, entry.id, person))


async def open_case(tx: Tx, keys: KeyStore, entry_id: UUID) -> UUID:
    """Raises Refusal `not-found`, `service-consent`, `guardian`, `duplicate`."""
    entry = await store.lock_entry(tx, entry_id)
    fields = await store.opened_fields(keys, entry)
    person = await consents.person(tx, entry_id, minor=fields.minor)
    rule = standing(person.service, person, tx.now)
    if rule is Rule.GUARDIAN:
        raise Refusal("guardian", rule=rule)
    if rule is not Rule.ALLOWED or person.service_shut:
        raise Refusal("service-consent", rule=rule)
    id_ = opaque_id()
    await store.insert_case(tx, id_, entry_id)
    return id_
