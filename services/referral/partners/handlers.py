"""Who is in the network: registered, joined, suspended; and how their systems sign in."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from schemas import events as e
from schemas.registry import ORGANISATIONS
from schemas.vocabulary import OrganisationStatus
from services.referral.partners import store
from services.referral.partners.store import Client, Organisation
from services.referral.referrals import handlers as referrals
from services.referral.referrals.domain import Windows
from spean import auth
from spean.auth import Signer
from spean.db import Tx
from spean.outbox import say
from spean.problem import Refusal

# RFC 7523: an assertion is for one use, now. Longer lives only give a thief more time.
ASSERTION_MOST_S = 300
_JTI = re.compile(r"[\x21-\x7e]{1,200}")


async def register(tx: Tx, organisation: Organisation) -> None:
    await store.insert_organisation(tx, organisation)
    said = e.OrganisationRegisteredV1(
        type=organisation.type, country=organisation.country, law_enforcement=organisation.law_enforcement,
        sample=organisation.sample,
    )  # fmt: skip
    await say(tx, ORGANISATIONS, organisation.id, said)


async def found_network(tx: Tx, id_: UUID, name: str, coordinator: UUID, windows: Windows, *, sample: bool) -> None:
    """A new network; its coordinator is its first member. Raises Refusal `not-found` for an unknown coordinator."""
    await store.lock_organisation(tx, coordinator)
    await store.insert_network(tx, id_, name, coordinator, windows.model_dump_json(), sample=sample)
    await store.insert_member(tx, id_, coordinator)


async def join(tx: Tx, network: UUID, organisation: UUID) -> None:
    """Raises Refusal `not-found`."""
    await store.lock_organisation(tx, organisation)
    if not await store.network_exists(tx, network):
        raise Refusal("not-found")
    await store.insert_member(tx, network, organisation)


async def suspend(tx: Tx, organisation: Organisation) -> Organisation:
    """Shut a locked organisation out at once: its tokens are refused, its open work passes on. Saying it again changes
    nothing."""
    if organisation.status is OrganisationStatus.SUSPENDED:
        return organisation
    await store.set_status(tx, organisation.id, OrganisationStatus.SUSPENDED)
    await say(tx, ORGANISATIONS, organisation.id, e.OrganisationSuspendedV1())
    await referrals.suspend_work(tx, organisation.id)
    return replace(organisation, status=OrganisationStatus.SUSPENDED, version=organisation.version + 1)


async def register_client(tx: Tx, client: Client) -> None:
    """A system's public key and scopes. Raises Refusal `not-found`, `duplicate`, `invalid` for a key that is none."""
    await store.lock_organisation(tx, client.organisation)
    try:
        key = OKPKey.import_key(client.public_key)
    except (JoseError, ValueError, KeyError, TypeError):
        raise Refusal("invalid", errors=[{"at": "body.public_key", "why": "ed25519_public_jwk_expected"}]) from None
    if key.is_private or client.public_key.get("crv") != "Ed25519":
        raise Refusal("invalid", errors=[{"at": "body.public_key", "why": "ed25519_public_jwk_expected"}])
    await store.insert_client(tx, client)


def claimed_client(assertion: str) -> str:
    """The client id that an unverified assertion names. Raises Refusal `bad-client`."""
    return auth.unverified_subject(assertion)


async def sign_in(tx: Tx, signer: Signer, assertion: str, wanted: frozenset[str], audience: str) -> dict[str, Any]:
    """Exchange a private_key_jwt assertion for an access token (RFC 6749 body). Raises Refusal `bad-client`, `scope`."""
    client = await store.active_client(tx, claimed_client(assertion))
    if client is None:
        raise Refusal("bad-client")
    try:
        key = OKPKey.import_key(client.public_key)
        claims = auth.check(assertion, key, issuer=client.id, audience=audience, kind=None)
    except Refusal:
        raise Refusal("bad-client") from None
    # For us alone: an assertion that another server may use as well could be used here by that server.
    for_us = claims["aud"] in (audience, [audience])
    # Compared as numbers first: a time beyond the calendar is no time.
    if claims.get("sub") != client.id or not for_us or claims["exp"] > tx.now.timestamp() + ASSERTION_MOST_S:
        raise Refusal("bad-client")
    expires = datetime.fromtimestamp(claims["exp"], UTC)
    if not _JTI.fullmatch(claims["jti"]) or not await store.use_assertion(tx, client.id, claims["jti"], expires):
        raise Refusal("bad-client")
    await store.forget_assertions(tx)
    scopes = wanted or client.scopes
    if not scopes <= client.scopes:
        raise Refusal("scope")
    networks = [str(network) for network in await store.networks_of(tx, client.organisation)]
    facts = await store.facts_of(tx, client.organisation)
    claims = {
        "sub": client.id, "org": str(client.organisation), "scope": " ".join(sorted(scopes)), "networks": networks,
        "facts": facts.model_dump(mode="json"),
    }  # fmt: skip
    audiences = sorted({scope.partition(":")[0] for scope in scopes})
    token = signer.sign(auth.Kind.ACCESS, audiences, auth.ACCESS_TOKEN_S, claims)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": auth.ACCESS_TOKEN_S,
        "scope": " ".join(sorted(scopes)),
    }
