"""Who or what may do less from now on is said, by an opaque id alone, so that it stays so where this database is put back
from a backup."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from schemas import events as e
from schemas.registry import ORGANISATIONS
from services.referral.partners import store
from services.referral.partners.changes import What, note
from services.referral.partners.store import System, SystemKey
from spean.db import Tx
from spean.outbox import say

# More systems than any installation has.
_EVERY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Named:
    """What an id stands for: a system, or (`key`) one of its keys."""

    system: System
    key: SystemKey | None = None


def id_of(client: str, thumbprint: str = "") -> UUID:
    """A system's id in events, or that of its key of this thumbprint: made of their names, and the same each time."""
    digest = hashlib.sha256(f"spean access {client} {thumbprint}".encode()).digest()
    return UUID(bytes=digest[:16], version=4)


async def closed(tx: Tx, who_or_what: UUID) -> None:
    """Say it. `who_or_what`: a person of the staff, or `id_of` a system or its key."""
    await say(tx, ORGANISATIONS, who_or_what, e.AccessClosedV1())


async def named(tx: Tx) -> Mapping[UUID, Named]:
    """Every system and key that this database knows."""
    found: dict[UUID, Named] = {}
    for system in await store.systems(tx, _EVERY):
        found[id_of(system.id)] = Named(system)
        found |= {id_of(system.id, key.thumbprint): Named(system, key) for key in system.keys}
    return found


async def close_again(tx: Tx, by: str, one: Named) -> None:
    """It opens nothing any more; also the only key of whoever runs the installation, whose keys folder has the one that came
    after it. What is shut already stays as it is."""
    system, key = one.system, one.key
    if key is None and system.active:
        await store.revoke_client(tx, system.id)
        await note(tx, by, What.SYSTEM_REVOKED, system.organisation, client=system.id)
    elif key is not None and await store.revoke_key(tx, system.id, key.thumbprint, key.use):
        await note(tx, by, What.KEY_REVOKED, system.organisation, client=system.id, key=key.thumbprint)
