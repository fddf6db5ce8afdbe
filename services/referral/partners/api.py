"""The administrator's API (networks, organisations, systems, places) and the token endpoint for partner systems."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.questions import Eligibility
from schemas.rights import SCOPES
from schemas.vocabulary import (
    GROUP_OF,
    Area,
    Country,
    OrganisationStatus,
    OrganisationType,
    ServiceGroup,
    ServiceType,
)
from services.referral.approvals import handlers as approvals
from services.referral.approvals.domain import Who
from services.referral.partners import handlers, store
from services.referral.partners.store import Organisation, System, Use
from services.referral.places.api import PlaceView
from services.referral.places.api import view as place_view
from services.referral.places.store import Place
from services.referral.referrals.domain import Windows
from spean import grants
from spean.auth import Caller, Signer
from spean.db import Database, Tx
from spean.geography import known_area
from spean.grants import ASSERTION_TYPE, GRANT
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE = "referral:admin"
_LIST_MOST = 1_000
router = APIRouter(tags=["administration"])
Admin = Annotated[Command, Depends(command_with(SCOPE))]


class OrganisationBody(Body):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    type: OrganisationType
    country: Country
    law_enforcement: bool = False
    sample: bool = False


class OrganisationView(View):
    id: UUID
    name: str
    type: OrganisationType
    country: Country
    law_enforcement: bool
    status: OrganisationStatus
    sample: bool
    version: int


class OrganisationsView(View):
    organisations: tuple[OrganisationView, ...]


class NetworkBody(Body):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    coordinator: UUID
    windows: Windows = Windows()
    sample: bool = False


class Coordinator(Body):
    organisation: UUID


class NetworkView(View):
    id: UUID
    coordinator: UUID
    version: int


class IdView(View):
    id: UUID


class Join(Body):
    organisation: UUID


class ClientBody(Body):
    """A system's credential. The private key never leaves the partner."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,80}$")]
    organisation: UUID
    public_key: dict[str, str] = Field(description="an Ed25519 public key as JWK")
    scopes: frozenset[str]


class ClientView(View):
    """`approval`: what somebody else has to agree to before the system may sign in; null where it may from now on."""

    id: str
    organisation: UUID
    approval: UUID | None = None


class RevokedView(View):
    id: str


class KeyBody(Body):
    public_key: dict[str, str] = Field(
        description="a public key as JWK: Ed25519, to sign in with; or X25519 or our hybrid (AKP), to seal packets to"
    )


class KeyView(View):
    """`thumbprint`: the key's own name (RFC 7638). `approval`: what somebody else has to agree to before the key counts; null
    where nobody has to."""

    client: str
    thumbprint: str
    approval: UUID | None = None


class SystemKeyView(View):
    """`use`: `sig`, the system signs in with it; `enc`, packets are sealed to it."""

    thumbprint: str
    active: bool
    since: datetime
    use: Use


class SystemView(View):
    id: str
    organisation: UUID
    scopes: tuple[str, ...]
    active: bool
    keys: tuple[SystemKeyView, ...]


class SystemsView(View):
    systems: tuple[SystemView, ...]


class TokenView(View):
    """RFC 6749, section 5.1."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class KeysView(View):
    """A JSON Web Key Set (RFC 7517)."""

    keys: tuple[dict[str, str], ...]


class PlaceBody(Body):
    organisation: UUID
    network: UUID
    service_types: Annotated[tuple[ServiceType, ...], Field(min_length=1, max_length=20)]
    area: Area
    eligibility: Eligibility = Eligibility()
    usable: Annotated[int, Field(ge=0, le=10_000)]


@router.get("/organisations")
async def list_organisations(request: Request, _: Annotated[Caller, Depends(caller_with(SCOPE))]) -> OrganisationsView:
    """Every organisation of this installation (at most 1,000)."""
    db: Database = request.app.state.door.db
    async with db.transaction("organisations.list") as tx:
        found = await store.organisations(tx, _LIST_MOST)
    return OrganisationsView(organisations=tuple(_view(one) for one in found))


def _view(o: Organisation) -> OrganisationView:
    return OrganisationView(
        id=o.id, name=o.name, type=o.type, country=o.country, law_enforcement=o.law_enforcement, status=o.status,
        sample=o.sample, version=o.version,
    )  # fmt: skip


@router.post("/organisations", status_code=201, response_model=OrganisationView)
async def register_organisation(body: OrganisationBody, command: Admin) -> Response:
    """Register an organisation. Police, embassies and ministries are marked as such: nothing goes to them by default."""
    made = Organisation(
        id=opaque_id(), name=body.name, type=body.type, country=body.country, law_enforcement=body.law_enforcement,
        status=OrganisationStatus.ACTIVE, sample=body.sample, version=1,
    )  # fmt: skip

    async def work(tx: Tx) -> Reply:
        await handlers.register(tx, command.caller.by, made)
        return Reply(_view(made), made.version, 201)

    return await command.run_as_service("organisation.register", work)


@router.post("/organisations/{organisation}/suspend", response_model=OrganisationView)
async def suspend_organisation(organisation: UUID, command: Admin) -> Response:
    """Shut an organisation out at once; what it has in hand passes on or goes to a coordinator."""

    async def work(tx: Tx) -> Reply:
        locked = await store.lock_organisation(tx, organisation)
        expect_version(command, locked.version)
        after = await handlers.suspend(tx, command.caller.by, locked)
        return Reply(_view(after), after.version)

    return await command.run_as_service("organisation.suspend", work)


@router.post("/organisations/{organisation}/reinstate", response_model=OrganisationView)
async def reinstate_organisation(organisation: UUID, command: Admin) -> Response:
    """Let a suspended organisation in again: it may sign in, ask and be asked. What went to a coordinator stays there. Not
    before six minutes have passed, so that no token from before the suspension comes to life again."""

    async def work(tx: Tx) -> Reply:
        locked = await store.lock_organisation(tx, organisation)
        expect_version(command, locked.version)
        after = await handlers.reinstate(tx, command.caller.by, locked)
        return Reply(_view(after), after.version)

    return await command.run_as_service("organisation.reinstate", work)


@router.post("/networks", status_code=201, response_model=IdView)
async def found_network(body: NetworkBody, command: Admin) -> Response:
    """A set of organisations that refer to each other, with its coordinator and its answer windows."""
    id_ = opaque_id()

    async def work(tx: Tx) -> Reply:
        by = command.caller.by
        await handlers.found_network(tx, by, id_, body.name, body.coordinator, body.windows, sample=body.sample)
        return Reply(IdView(id=id_), status=201)

    return await command.run_as_service("network.found", work)


@router.post("/networks/{network}/coordinator", response_model=NetworkView)
async def name_coordinator(network: UUID, body: Coordinator, command: Admin) -> Response:
    """Name another coordinator, who takes over everything that is open in the network and is told of what needs a person.
    A member that is not suspended."""

    async def work(tx: Tx) -> Reply:
        named = await store.lock_organisation(tx, body.organisation)
        locked = await store.lock_network(tx, network)
        expect_version(command, locked.version)
        after = await handlers.hand_over(tx, command.caller.by, locked, named)
        shown = NetworkView(id=after.id, coordinator=after.coordinator, version=after.version)
        return Reply(shown, after.version)

    return await command.run_as_service("network.coordinator", work)


@router.post("/networks/{network}/members", response_model=IdView)
async def join(network: UUID, body: Join, command: Admin) -> Response:
    """An organisation joins a network: from now on it may ask there, and be asked."""

    async def work(tx: Tx) -> Reply:
        await handlers.join(tx, command.caller.by, network, body.organisation)
        return Reply(IdView(id=network))

    return await command.run_as_service("network.join", work)


@router.post("/clients", status_code=201, response_model=ClientView)
async def register_client(body: ClientBody, command: Admin) -> Response:
    """Register a partner system's public key and what it may do. What opens records waits until the organisation itself, or
    another administrator, has agreed (`approval`); but for the first of an organisation of which nobody could sign in before."""
    if not body.scopes <= SCOPES.keys():
        raise Refusal("invalid", errors=[{"at": "body.scopes", "why": "unknown_scope"}])

    async def work(tx: Tx) -> Reply:
        who = Who.of(command.caller)
        waits = await approvals.register_client(tx, who, body.id, body.organisation, body.public_key, body.scopes)
        return Reply(ClientView(id=body.id, organisation=body.organisation, approval=waits), status=201)

    return await command.run_as_service("client.register", work)


@router.post("/clients/{client}/revoke", response_model=RevokedView)
async def revoke_client(client: str, command: Admin) -> Response:
    """Shut a system out for good: none of its keys opens anything from now on (tokens it has got live five minutes at
    most)."""

    async def work(tx: Tx) -> Reply:
        await handlers.revoke_client(tx, command.caller.by, client)
        return Reply(RevokedView(id=client))

    return await command.run_as_service("client.revoke", work)


@router.get("/clients")
async def list_clients(request: Request, _: Annotated[Caller, Depends(caller_with(SCOPE))]) -> SystemsView:
    """Every system that may sign in or might once (at most 1,000), with its keys by their thumbprints."""
    db: Database = request.app.state.door.db
    async with db.transaction("clients.list") as tx:
        return SystemsView(systems=tuple(map(_system, await store.systems(tx, _LIST_MOST))))


def _system(one: System) -> SystemView:
    return SystemView(
        id=one.id, organisation=one.organisation, scopes=tuple(sorted(one.scopes)), active=one.active,
        keys=tuple(
            SystemKeyView(thumbprint=key.thumbprint, active=key.revoked_at is None, since=key.since, use=key.use)
            for key in one.keys
        ),
    )  # fmt: skip


@router.post("/clients/{client}/keys", status_code=201, response_model=KeyView)
async def add_key(client: str, body: KeyBody, command: Admin) -> Response:
    """Add a second key beside the first, so that a system changes over without a pause. Revoke the first when every instance
    of it signs with the second. A key for sealing stands beside them: as soon as there is one, packets that the system reads
    are sealed to it. Where the system may read of people, the key counts as soon as somebody else has agreed (`approval`): the
    system itself, by the key that it has, or another administrator."""

    async def work(tx: Tx) -> Reply:
        key, waits = await approvals.add_key(tx, Who.of(command.caller), client, body.public_key)
        return Reply(KeyView(client=client, thumbprint=key.thumbprint, approval=waits), status=201)

    return await command.run_as_service("client.key", work)


@router.post("/clients/{client}/keys/{thumbprint}/revoke", response_model=KeyView)
async def revoke_key(client: str, thumbprint: str, command: Admin) -> Response:
    """This key opens nothing from now on (tokens it has got live five minutes at most); the system's other key does."""

    async def work(tx: Tx) -> Reply:
        await handlers.revoke_key(tx, command.caller.by, client, thumbprint)
        return Reply(KeyView(client=client, thumbprint=thumbprint))

    return await command.run_as_service("client.key_revoke", work)


@router.post("/places", status_code=201, response_model=PlaceView)
async def register_place(body: PlaceBody, command: Admin) -> Response:
    """A pool of equal places at an organisation; its province only, never an address."""
    groups = {GROUP_OF[service] for service in body.service_types}
    if len(groups) != 1:
        raise Refusal("invalid", errors=[{"at": "body.service_types", "why": "one_group_per_place"}])
    if not known_area(body.area):
        raise Refusal("unknown-area")
    group: ServiceGroup = groups.pop()
    place = Place(
        id=opaque_id(), organisation=body.organisation, network=body.network, service_group=group,
        service_types=body.service_types, area=body.area, eligibility=body.eligibility, usable=body.usable, outside=0,
        held=0, staying=0, version=1,
    )  # fmt: skip

    async def work(tx: Tx) -> Reply:
        made = await handlers.register_place(tx, command.caller.by, place)
        shown: PlaceView = place_view(made)
        return Reply(shown, made.version, 201)

    return await command.run_as_service("place.register", work)


@router.post("/oauth/token", tags=["sign-in"], response_model=TokenView, openapi_extra={
    "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": {
        "type": "object",
        "required": ["grant_type", "client_assertion_type", "client_assertion"],
        "properties": {
            "grant_type": {"const": GRANT}, "client_assertion_type": {"const": ASSERTION_TYPE},
            "client_assertion": {"type": "string"}, "scope": {"type": "string"},
            "resource": {"type": "string", "description": "a holder's address: a token for this holder alone (RFC 8707)"},
        },
    }}}},
})  # fmt: skip
async def token(request: Request) -> Response:
    """Exchange a signed assertion (RFC 7523, one use) for an access token of five minutes. Takes no Idempotency-Key: an
    assertion works once by itself. Errors also have the member `error` of RFC 6749; a system gets 120 tokens a minute."""
    state = request.app.state

    async def sign_in(tx: Tx, assertion: str, wanted: frozenset[str], only: str | None) -> tuple[str, dict[str, Any]]:
        return await handlers.sign_in(tx, state.signer, assertion, wanted, state.token_url, only)

    return await grants.answer(request, state.door.db, state.token_limits, state.audiences, sign_in)


@router.get("/.well-known/jwks.json", tags=["sign-in"], response_model=KeysView)
async def jwks(request: Request) -> Response:
    """The public keys that access tokens and questions are signed with."""
    signer: Signer = request.app.state.signer
    return JSONResponse(signer.public_keys())
