"""Drafts: begun, kept step by step, finished or discarded; destroyed by the clock when nobody comes back to them.

A draft is its worker's alone, not the organisation's: nobody has checked it, the person has agreed to nothing yet, and a
colleague who needs it is better told in words than by half a form. It becomes the organisation's when it is finished.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from services.intake.drafts import store
from services.intake.drafts.domain import KEPT_DAYS, Answers, Draft, Kind, merged
from services.intake.drafts.store import Sealed
from services.intake.keystore.store import KeyStore
from spean.clock import clear_due, set_due
from spean.crypto import Unopenable, seal, unseal
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.problem import Refusal

# Kind of due row: a draft is over, or too old. Its subject is the draft.
OVER = "draft-over"
_KEPT = timedelta(days=KEPT_DAYS)
# More than a worker has open; older ones are destroyed anyway.
_UNFINISHED_MOST = 30


async def begin(tx: Tx, keys: KeyStore, worker: UUID, kind: Kind, answers: Answers, entry: UUID | None = None) -> UUID:
    """A new draft under a key of its own. Returns its id."""
    id_ = opaque_id()
    key = await keys.make(id_)
    await store.insert(tx, id_, worker, kind, entry, seal(key, _written(answers), _context(id_)))
    await set_due(tx, OVER, id_, tx.now + _KEPT)
    return id_


async def read(tx: Tx, keys: KeyStore, id_: UUID, worker: UUID, kind: Kind | None = None) -> Draft:
    """`kind`: None for any. Raises Refusal `not-found`, also where it is another worker's, or its key is gone."""
    return await _opened(keys, await store.find(tx, id_, worker, kind))


async def keep(tx: Tx, keys: KeyStore, id_: UUID, worker: UUID, fields: Collection[str], sent: Answers) -> Draft:
    """Write one step's answers into the draft, in place of that step's former ones. Raises Refusal `not-found`."""
    found = await store.lock(tx, id_, worker)
    before = await _opened(keys, found)
    answers = merged(before.answers, fields, sent)
    if answers == before.answers:
        return before
    await store.save(tx, id_, seal(await keys.key(id_), _written(answers), _context(id_)))
    await set_due(tx, OVER, id_, tx.now + _KEPT)
    return Draft(id_, found.kind, found.entry, found.begun_at, found.version + 1, answers)


async def finish(tx: Tx, keys: KeyStore, id_: UUID, worker: UUID, version: int | None) -> Draft:
    """The draft, which is over with this transaction; the clock destroys its key once that has committed. Raises Refusal
    `not-found`, `version` where it is not what the worker has checked."""
    found = await store.lock(tx, id_, worker)
    if found.version != version:
        raise Refusal("version")
    await _over(tx, id_)
    return await _opened(keys, found)


async def discard(tx: Tx, id_: UUID, worker: UUID) -> None:
    """Raises Refusal `not-found`."""
    await store.lock(tx, id_, worker)
    await _over(tx, id_)


async def forget(tx: Tx, entry: UUID) -> None:
    """Whatever was begun about a person who is being erased is over."""
    for id_ in await store.about(tx, entry):
        await _over(tx, id_)


async def unfinished(tx: Tx, keys: KeyStore, worker: UUID) -> list[Draft]:
    """What this worker has begun and not finished, the latest first; what cannot be opened keeps nobody from the rest."""
    rows = await store.of_worker(tx, worker, _UNFINISHED_MOST)
    known = await keys.keys([row.id for row in rows])
    found = (_plain(known[row.id], row) for row in rows if row.id in known)
    return [draft for draft in found if draft is not None]


async def over(db: Database, keys: KeyStore, id_: UUID) -> None:
    """The clock: a draft was finished or discarded, or nobody has written in it for `KEPT_DAYS`. Its key goes first: a row
    that is left without one can be read by nobody, also in a backup."""
    async with db.transaction("draft.over") as tx:
        found = await store.lock_any(tx, id_)
        if found is not None and found.saved_at + _KEPT > tx.now:
            return  # written in since; its due row was set anew
        await keys.destroy(id_)
        await store.delete(tx, id_)
        await clear_due(tx, OVER, id_)


async def _over(tx: Tx, id_: UUID) -> None:
    await store.end(tx, id_)
    await set_due(tx, OVER, id_, tx.now)


async def _opened(keys: KeyStore, found: Sealed) -> Draft:
    """Raises Refusal `not-found` where its key is destroyed."""
    known = await keys.keys([found.id])
    opened = _plain(known[found.id], found) if found.id in known else None
    if opened is None:
        raise Refusal("not-found")
    return opened


def _plain(key: bytes, found: Sealed) -> Draft | None:
    """None for what its key does not open: it can never be read again."""
    try:
        answers = json.loads(unseal(key, found.sealed, _context(found.id)))
    except Unopenable:
        return None
    return Draft(found.id, found.kind, found.entry, found.begun_at, found.version, answers)


def _written(answers: Answers) -> bytes:
    return json.dumps(answers, ensure_ascii=False).encode()


def _context(draft: UUID) -> str:
    return f"draft/{draft}/answers/1"
