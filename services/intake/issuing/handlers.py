"""The holder as its own issuer: it lets nobody in but systems that its own operator has admitted, by a command at its machine."""

from __future__ import annotations

from typing import Any

from services.intake.issuing import store
from services.intake.issuing.store import System
from spean import grants
from spean.auth import Signer, unverified_subject
from spean.db import Tx
from spean.problem import Refusal

# What is done at a holder; nothing else is its to give.
SCOPES = frozenset({"intake:send", "intake:rules"})


async def admit(tx: Tx, one: System) -> None:
    """Raises Refusal `duplicate` (a name is good once), `scope` for what is not a holder's to give."""
    if not one.scopes or not one.scopes <= SCOPES:
        raise Refusal("scope")
    if not await store.insert(tx, one):
        raise Refusal("duplicate")


async def dismiss(tx: Tx, id_: str) -> None:
    """Nothing is signed for this system any more (tokens that it has got live five minutes at most). Raises Refusal
    `not-found`."""
    if not await store.end(tx, id_):
        raise Refusal("not-found")


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
