"""Secrets of authenticators sealed anew after their key was changed for another."""

from __future__ import annotations

from collections.abc import Sequence

from services.referral.people.domain import authenticator_of
from services.referral.sessions import store
from spean.crypto import Unopenable, seal, unseal, unseal_any
from spean.db import Database


async def reseal(db: Database, keys: Sequence[bytes]) -> int:
    """Whatever another of `keys` opens is sealed with the first from now on. Returns how many were; what none of them opens
    is left as it is. Raises DatabaseProblem."""
    done = 0
    async with db.transaction("authenticators.reseal") as tx:
        for kept in store.SEALED:
            for person, sealed in await store.sealed(tx, kept):
                context = authenticator_of(person)
                try:
                    unseal(keys[0], sealed, context)
                except Unopenable:
                    try:
                        secret = unseal_any(keys[1:], sealed, context)
                    except Unopenable:
                        continue
                    await store.seal_anew(tx, kept, person, sealed, seal(keys[0], secret, context))
                    done += 1
    return done
