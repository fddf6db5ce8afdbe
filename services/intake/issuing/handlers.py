"""The holder as its own issuer: it lets nobody in but systems that its own operator has admitted, by a command at its machine."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid5

from services.intake.issuing import store
from services.intake.issuing.store import System
from services.intake.keystore import endings
from spean import grants
from spean.auth import Signer, unverified_subject
from spean.clock import set_due
from spean.db import Database, Tx
from spean.problem import Refusal

# What is done at a holder; nothing else is its to give.
SCOPES = frozenset({"intake:send", "intake:rules"})
_SYSTEMS = UUID("6b0d8f0a-5c0e-4d0b-9d3c-2f1f6c6a7e11")


async def admit(tx: Tx, one: System) -> None:
    """Raises Refusal `duplicate` (a name is good once), `scope` for what is not a holder's to give."""
    if not one.scopes or not one.scopes <= SCOPES:
        raise Refusal("scope")
    if not await store.insert(tx, one):
        raise Refusal("duplicate")


async def dismiss(tx: Tx, id_: str) -> None:
    """Nothing is signed for this system any more (tokens that it has got live five minutes at most). The clock tells the key
    store, which this command does not open. Raises Refusal `not-found`."""
    if not await store.end(tx, id_):
        raise Refusal("not-found")
    await set_due(tx, endings.KEEP, ending_of(id_), tx.now)


def ending_of(id_: str) -> UUID:
    """Under which id the key store knows that a system was dismissed: a name is good once."""
    return uuid5(_SYSTEMS, id_)


async def apply_kept_endings(db: Database, ended: Collection[UUID]) -> None:
    """At every start: who was dismissed stays so, whatever the holder's database (perhaps a restored backup) says."""
    kept = set(ended)
    async with db.transaction("systems.kept") as tx:
        for one in await store.listed(tx):
            if one.ended_at is None and ending_of(one.id) in kept:
                await store.end(tx, one.id)


async def sign_in(
    tx: Tx, signer: Signer, audience: str, assertion: str, wanted: frozenset[str], token_url: str
) -> tuple[str, dict[str, Any]]:
    """Exchange a private_key_jwt assertion for the system's id and an access token for this holder alone (RFC 6749 body).
    Raises Refusal `bad-client`, `scope`."""
    system = await store.active(tx, unverified_subject(assertion))
    if system is None:
        raise Refusal("bad-client")
    shown = grants.checked(assertion, system.id, [system.public_key], token_url, tx.now)
    if not await store.use_assertion(tx, system.id, shown.jti, shown.expires):
        raise Refusal("bad-client")
    await store.forget_assertions(tx)
    scopes = wanted or system.scopes
    if not scopes <= system.scopes:
        raise Refusal("scope")
    claims = {
        "sub": system.id, "org": str(system.facts.organisation), "networks": sorted(map(str, system.networks)),
        "facts": system.facts.model_dump(mode="json", exclude={"serves"}),
    }  # fmt: skip
    return system.id, grants.granted(signer, [audience], scopes, claims)
