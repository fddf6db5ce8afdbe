"""Who is in the network: registered, joined, suspended; and how their systems sign in."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from schemas import events as e
from schemas.registry import ORGANISATIONS
from schemas.vocabulary import OrganisationStatus
from services.referral.partners import closing, store
from services.referral.partners.changes import What, note
from services.referral.partners.store import Key, Network, Organisation, System, Use
from services.referral.places import handlers as places
from services.referral.places.store import Place
from services.referral.referrals import ownership
from services.referral.referrals.domain import Windows
from services.referral.sessions import store as sessions
from spean import auth, grants, sealing
from spean.auth import Signer
from spean.crypto import public_jwk
from spean.db import Tx
from spean.outbox import say
from spean.problem import Refusal

# Longer than any token lives that was handed out before a suspension, whatever the clocks (a minute more): none of them
# comes to life again with its organisation.
SUSPENDED_LEAST_S = auth.ACCESS_TOKEN_S + 60
# The system of whoever runs the installation: without it nothing starts, so it is not shut out by accident.
OPERATOR_CLIENT = "administrator"
# One in use, and the next while every instance of a system changes over.
KEYS_MOST = 2


async def register(tx: Tx, by: str, organisation: Organisation) -> None:
    await store.insert_organisation(tx, organisation)
    await note(tx, by, What.ORGANISATION_REGISTERED, organisation.id, type=organisation.type)
    said = e.OrganisationRegisteredV1(
        type=organisation.type, country=organisation.country, law_enforcement=organisation.law_enforcement,
        sample=organisation.sample,
    )  # fmt: skip
    await say(tx, ORGANISATIONS, organisation.id, said)


async def found_network(
    tx: Tx, by: str, id_: UUID, name: str, coordinator: UUID, windows: Windows, *, sample: bool
) -> None:
    """A new network; its coordinator is its first member. Raises Refusal `not-found` for an unknown coordinator,
    `coordinator-unfit` for a suspended one."""
    _may_coordinate(await store.lock_organisation(tx, coordinator))
    await store.insert_network(tx, id_, name, coordinator, windows.model_dump_json(), sample=sample)
    await store.insert_member(tx, id_, coordinator)
    await note(tx, by, What.NETWORK_FOUNDED, coordinator, network=id_)


async def join(tx: Tx, by: str, network: UUID, organisation: UUID) -> None:
    """Raises Refusal `not-found`."""
    await store.lock_organisation(tx, organisation)
    if not await store.network_exists(tx, network):
        raise Refusal("not-found")
    if await store.insert_member(tx, network, organisation):
        await note(tx, by, What.MEMBER_JOINED, organisation, network=network)


async def register_place(tx: Tx, by: str, place: Place) -> Place:
    """Raises Refusal `not-found` for an organisation that is not in that network."""
    await store.lock_organisation(tx, place.organisation)
    known = await store.network_exists(tx, place.network)
    if not known or place.organisation not in await store.members(tx, place.network):
        raise Refusal("not-found")
    made = await places.register(tx, place)
    await note(tx, by, What.PLACE_REGISTERED, place.organisation, network=place.network, place=place.id,
               usable=place.usable)  # fmt: skip
    return made


def _may_coordinate(organisation: Organisation) -> None:
    if organisation.status is not OrganisationStatus.ACTIVE:
        raise Refusal("coordinator-unfit")


async def hand_over(tx: Tx, by: str, network: Network, coordinator: Organisation) -> Network:
    """Another coordinator for a locked network: it owns what is open there from now on. Both are locked, the organisation
    first, so that it cannot be suspended meanwhile. Naming the same again changes nothing. Raises Refusal
    `coordinator-unfit`."""
    _may_coordinate(coordinator)
    if coordinator.id not in await store.members(tx, network.id):
        raise Refusal("coordinator-unfit")
    if network.coordinator == coordinator.id:
        return network
    await store.set_coordinator(tx, network.id, coordinator.id)
    await note(tx, by, What.COORDINATOR_NAMED, coordinator.id, network=network.id, before=str(network.coordinator))
    await ownership.hand_over(tx, network.id, coordinator.id)
    await places.tell_all(tx, network.id)
    return replace(network, coordinator=coordinator.id, version=network.version + 1)


async def suspend(tx: Tx, by: str, organisation: Organisation) -> Organisation:
    """Shut a locked organisation out at once: its tokens are refused, its open work passes on. Saying it again changes
    nothing. Raises Refusal `coordinates-network`: no network is left without an owner."""
    if organisation.status is OrganisationStatus.SUSPENDED:
        return organisation
    if await store.coordinates(tx, organisation.id):
        raise Refusal("coordinates-network")
    await store.set_status(tx, organisation.id, OrganisationStatus.SUSPENDED)
    await say(tx, ORGANISATIONS, organisation.id, e.OrganisationSuspendedV1())
    await note(tx, by, What.ORGANISATION_SUSPENDED, organisation.id)
    await ownership.suspend_work(tx, organisation.id)
    await sessions.end_sessions_of(tx, organisation.id)
    return replace(organisation, status=OrganisationStatus.SUSPENDED, version=organisation.version + 1)


async def reinstate(tx: Tx, by: str, organisation: Organisation) -> Organisation:
    """A locked organisation may sign in and be asked again. What went to a coordinator stays there; what it was given
    before stays dead. Saying it again changes nothing. Raises Refusal `suspended-lately`."""
    if organisation.status is OrganisationStatus.ACTIVE:
        return organisation
    if not await store.suspended_for(tx, organisation.id, SUSPENDED_LEAST_S):
        raise Refusal("suspended-lately")
    await store.set_status(tx, organisation.id, OrganisationStatus.ACTIVE)
    await say(tx, ORGANISATIONS, organisation.id, e.OrganisationReinstatedV1())
    await note(tx, by, What.ORGANISATION_REINSTATED, organisation.id)
    return replace(organisation, status=OrganisationStatus.ACTIVE, version=organisation.version + 1)


async def register_client(tx: Tx, by: str, id_: str, organisation: UUID, public_key: Mapping[str, str],
                          scopes: Collection[str]) -> Key:  # fmt: skip
    """A system's public key and scopes. Raises Refusal `not-found`, `duplicate`, `invalid` for a key that is none."""
    await store.lock_organisation(tx, organisation)
    key = signing_key(public_key)
    await store.insert_client(tx, id_, organisation, scopes)
    await store.insert_key(tx, id_, key)
    await note(tx, by, What.SYSTEM_REGISTERED, organisation, client=id_, scopes=sorted(scopes), key=key.thumbprint)
    return key


def _sealing_key(public_key: Mapping[str, str]) -> Key | None:
    """The key alone, in its one spelling; None for one that nothing can be sealed to."""
    try:
        key = sealing.public_key(public_key)
    except sealing.NoKey:
        return None
    return Key(key.id, key.jwk, Use.SEALING)


def key_in(public_key: Mapping[str, str]) -> Key:
    """A key for sealing or for signing in, whichever it is. Raises Refusal `invalid`."""
    return _sealing_key(public_key) or signing_key(public_key)


def signing_key(public_key: Mapping[str, str]) -> Key:
    """The key alone, in its one spelling. Raises Refusal `invalid`."""
    try:
        given = OKPKey.import_key(dict(public_key)).raw_value
    except (JoseError, ValueError, KeyError, TypeError):
        given = None
    if not isinstance(given, Ed25519PublicKey):
        raise Refusal("invalid", errors=[{"at": "body.public_key", "why": "ed25519_public_jwk_expected"}])
    x = base64.urlsafe_b64encode(given.public_bytes_raw()).rstrip(b"=").decode()
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
    return Key(key.thumbprint(), public_jwk(key))


async def add_key(tx: Tx, by: str, client: str, public_key: Mapping[str, str]) -> Key:
    """A second key for a system, so that it can change from one to the other without a pause: both open from now on. Or a
    key for sealing: packets that the system reads are sealed to it from now on. Raises Refusal `not-found`, `invalid`,
    `duplicate`, `two-keys`."""
    organisation = await store.lock_client(tx, client)
    key = key_in(public_key)
    await store.insert_key(tx, client, key)
    if len(await store.keys_of(tx, client, key.use)) > KEYS_MOST:
        raise Refusal("two-keys")
    await note(tx, by, What.KEY_ADDED, organisation, client=client, key=key.thumbprint)
    return key


def expect_room(system: System, key: Key) -> None:
    """Could the system have this key beside those that it has, or had? Raises Refusal `duplicate`, `two-keys`."""
    if any(one.thumbprint == key.thumbprint for one in system.keys):
        raise Refusal("duplicate")
    if sum(one.use is key.use and one.revoked_at is None for one in system.keys) >= KEYS_MOST:
        raise Refusal("two-keys")


async def revoke_key(tx: Tx, by: str, client: str, thumbprint: str) -> None:
    """This key opens nothing from now on (tokens that it has got live five minutes at most), and nothing is sealed to it; the
    system's other keys stay. Raises Refusal `not-found`, or `last-administrator` for the only key of whoever runs the
    installation."""
    organisation = await store.lock_client(tx, client)
    if not any([await store.revoke_key(tx, client, thumbprint, use) for use in Use]):
        raise Refusal("not-found")
    if client == OPERATOR_CLIENT and not await store.keys_of(tx, client, Use.SIGNING):
        raise Refusal("last-administrator")
    await note(tx, by, What.KEY_REVOKED, organisation, client=client, key=thumbprint)
    await closing.closed(tx, closing.id_of(client, thumbprint))


async def revoke_client(tx: Tx, by: str, client: str) -> None:
    """A system is shut out for good. Raises Refusal `not-found`, or `last-administrator` for the one without which the
    installation does not start."""
    organisation = await store.lock_client(tx, client)
    if client == OPERATOR_CLIENT:
        raise Refusal("last-administrator")
    await store.revoke_client(tx, client)
    await note(tx, by, What.SYSTEM_REVOKED, organisation, client=client)
    await closing.closed(tx, closing.id_of(client))


def claimed_client(assertion: str) -> str:
    """The client id that an unverified assertion names. Raises Refusal `bad-client`."""
    return auth.unverified_subject(assertion)


async def sign_in(
    tx: Tx, signer: Signer, assertion: str, wanted: frozenset[str], audience: str, only: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Exchange a private_key_jwt assertion for the client's id and an access token (RFC 6749 body), for every service of its
    scopes or `only` for one. Raises Refusal `bad-client`, `scope`."""
    client = await store.active_client(tx, claimed_client(assertion))
    if client is None:
        raise Refusal("bad-client")
    shown = grants.checked(assertion, client.id, client.public_keys, audience, tx.now)
    if not await store.use_assertion(tx, client.id, shown.jti, shown.expires):
        raise Refusal("bad-client")
    await store.forget_assertions(tx)
    scopes = wanted or client.scopes
    if not scopes <= client.scopes:
        raise Refusal("scope")
    networks = [str(network) for network in await store.networks_of(tx, client.organisation)]
    facts = await store.facts_of(tx, client.organisation)
    claims = {
        "sub": client.id, "org": str(client.organisation), "networks": networks,
        "facts": facts.model_dump(mode="json", exclude={"serves"}),
    }  # fmt: skip
    audiences = [only] if only else sorted({scope.partition(":")[0] for scope in scopes})
    return client.id, grants.granted(signer, audiences, scopes, claims)
