"""Every operation of the running services, from their own documents, and how a valid request for each is built.

The list of operations is never written down here: `operations` reads it. `RECIPES` says for each one who may and what is
sent; an operation without a recipe fails the tests that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import httpx
from joserfc.jwk import OKPKey

from schemas import questions as q
from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli.client import trusted
from services.cli.installation import Installation
from spean.auth import Kind, Signer
from spean.crypto import public_jwk
from tests.builders import CATEGORIES, PURPOSES, Organisation, World, eventually, second_system

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
PARTNER_SCOPES = ("intake:send", "referral:send", "referral:receive", "referral:coordinate", "notify:watch")


@dataclass(frozen=True)
class Operation:
    """`path` is the template below the service's prefix; `described` is its part of the document."""

    service: str
    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{self.method} /{self.service}{self.path}"

    @property
    def template(self) -> str:
        return f"/{self.service}{self.path}"


def operations(made: Installation) -> list[Operation]:
    """Every operation of every installed service, as its document says."""
    return [
        Operation(name, method.upper(), path, described)
        for name, service in made.services.items()
        for path, methods in service.app.openapi()["paths"].items()
        for method, described in methods.items()
    ]


@dataclass(repr=False)
class Stage:
    """A network with one of everything in it. `objects`: ids by name; `people`: who may act, by role."""

    world: World
    client: httpx.AsyncClient
    people: dict[str, Organisation]
    objects: dict[str, str]
    stranger: Organisation

    @property
    def signer(self) -> Signer:
        signer: Signer = self.world.made.services["referral"].app.state.signer
        return signer

    @property
    def holder(self) -> str:
        return self.world.made.services["intake"].source.rpartition("/")[2]

    def facts(self, organisation: str) -> q.OrganisationFacts:
        return q.OrganisationFacts(
            organisation=organisation, type=OrganisationType.SHELTER, country="KH", law_enforcement=False,
            status=OrganisationStatus.ACTIVE,
        )  # fmt: skip

    def ticket(self, *, offer: str, referral: str, organisation: str, holder: str | None = None) -> str:
        """A packet ticket as the network signs it."""
        packet = q.PacketTicket(offer=offer, referral=referral, facts=self.facts(organisation))
        claims = {"sub": organisation, "packet": packet.model_dump(mode="json")}
        return self.signer.sign(Kind.TICKET, f"packet:{holder or self.holder}", 60, claims)

    def question(self, *, holder: str | None = None, **claims: Any) -> str:
        """A question token as the network signs it."""
        said = {"scope": "question", "sub": "referral", **claims}
        return self.signer.sign(Kind.QUESTION, f"holder:{holder or self.holder}", 60, said)

    async def token(self, recipe: Recipe) -> str:
        """Whoever may carry the operation out."""
        if recipe.role == "network":
            return self.question()
        if recipe.role == "ticket":
            house = self.people["receiver"].id
            return self.ticket(offer=self.objects["accepted"], referral=self.objects["handoff"], organisation=house)
        return await self.people[recipe.role].partner.token()


Body = Callable[[Stage], Any]


@dataclass(frozen=True)
class Recipe:
    """`role` may carry it out with `scope`. `path`: which object each path parameter names. `foreign`: the object belongs
    to one organisation, so for every other it does not exist. `status`: what a valid request gets."""

    role: str
    scope: str | None = None
    path: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    foreign: bool = False
    stream: bool = False
    form: bool = False


def _consent(stage: Stage) -> Any:
    return {
        "decision": "share_referral", "state": "given", "expressed": "spoken", "language": "khm", "notice": "1-khm",
        "categories": CATEGORIES, "purposes": PURPOSES, "interpreter": True,
        "recipients": {"classes": [{"type": "shelter"}], "organisations": [stage.people["sender"].id]},
    }  # fmt: skip


def _handoff(stage: Stage) -> Any:
    return {
        "network": stage.world.network, "service_type": "counselling", "urgency": "emergency", "area": "KH-1",
        "members": [stage.objects["entry"]],
    }  # fmt: skip


def _entry(_: Stage) -> Any:
    return {"channel": "border_post", "area": "KH-1", "person": _person(_)}


def _person(_: Stage) -> Any:
    return {"age_years": 24, "sex": "female", "needs": ["step_free"], "languages": ["khm"], "name": "Made Up"}


def _step_now() -> dict[str, str]:
    today = datetime.now(UTC).date().isoformat()
    return {"status": "presumed", "decided_by": "helping_organisation", "decided_on": today}


def _agreement(stage: Stage) -> Any:
    sender, receiver = stage.people["sender"].id, stage.people["receiver"].id
    return {"sender": sender, "recipient": receiver, "categories": CATEGORIES, "purposes": PURPOSES}


def _client(stage: Stage) -> Any:
    return {
        "id": f"made-{uuid4().hex[:8]}", "organisation": stage.stranger.id, "public_key": _client_key(), "scopes": [],
    }  # fmt: skip


def _client_key() -> dict[str, str]:
    return public_jwk(OKPKey.generate_key("Ed25519"))


def _place(stage: Stage) -> Any:
    return {
        "organisation": stage.people["receiver"].id, "network": stage.world.network, "service_types": ["hiv_art"],
        "area": "KH-1", "usable": 1, "eligibility": {"sexes": ["female"], "min_age": 18},
    }  # fmt: skip


def _asked(stage: Stage, **more: Any) -> Any:
    facts = stage.facts(stage.people["receiver"].id).model_dump(mode="json")
    return {"organisation": facts, "offer": stage.objects["accepted"], "referral": stage.objects["handoff"], **more}


def _pair(stage: Stage) -> Any:
    facts = {role: stage.facts(stage.people[role].id).model_dump(mode="json") for role in ("sender", "receiver")}
    return {
        "network": stage.world.network,
        "group": "shelter",
        "sender": facts["sender"],
        "recipient": facts["receiver"],
    }


def _candidates(stage: Stage) -> Any:
    receiver = stage.people["receiver"].id
    candidate = {
        "place": stage.objects["place"], "organisation": stage.facts(receiver).model_dump(mode="json"), "area": "KH-1",
        "service_types": ["emergency_bed"], "eligibility": {},
    }  # fmt: skip
    return {"referral": stage.objects["handoff"], "candidates": [candidate]}


def _offers(stage: Stage) -> Any:
    reference = {"offer": stage.objects["accepted"], "referral": stage.objects["handoff"]}
    return {"organisation": _asked(stage)["organisation"], "offers": [reference]}


def _row(_: Stage) -> Any:
    values = ["2015", "Hotline", "Female", "KHM", "1", "Debt bondage", "-99", "Forced labour", "-99", "21--23"]
    return {"from_row": 0, "rows": [{"line": 2, "values": values}]}


def _always(body: Any) -> Body:
    return lambda _: body


_SEND, _RECEIVE = {"role": "sender", "scope": "intake:send"}, {"role": "receiver", "scope": "referral:receive"}
_COORDINATE = {
    "role": "coordinator",
    "scope": "referral:coordinate",
    "path": {"referral": "escalated"},
    "foreign": True,
}
_ENTRY = {**_SEND, "path": {"entry": "entry"}, "foreign": True}
_BASIS = {**_SEND, "path": {"entry": "entry", "basis": "basis"}, "foreign": True}
# It opens no field.
_CHECK = {"kind": "family_risk_check", "justification": "made up for this test"}
_HANDOFF = {**_SEND, "path": {"handoff": "handoff"}, "foreign": True}
_SCREENING = {**_SEND, "path": {"screening": "screening"}, "foreign": True}
_OPEN = {**_RECEIVE, "path": {"offer": "open"}, "foreign": True}
_ACCEPTED = {**_RECEIVE, "path": {"offer": "accepted"}, "foreign": True}
_PLACE = {**_RECEIVE, "path": {"place": "place"}, "foreign": True}
_TICKET = {"role": "ticket", "path": {"offer": "accepted"}, "foreign": True}
_ADMIN = {"role": "administrator", "scope": "referral:admin"}
_OFFICER = {"role": "officer", "scope": "intake:rules", "path": {"entry": "entry"}, "foreign": True}
_RULES = {"role": "administrator", "scope": "intake:rules"}

RECIPES: Mapping[str, Recipe] = {
    "POST /intake/entries": Recipe(**_SEND, body=_entry),
    "GET /intake/entries/{entry}": Recipe(**_ENTRY),
    "PUT /intake/entries/{entry}/person": Recipe(**_ENTRY, body=_person),
    "POST /intake/entries/{entry}/case": Recipe(**_ENTRY),
    "POST /intake/entries/{entry}/consents": Recipe(**_ENTRY, body=_consent),
    "GET /intake/entries/{entry}/consents": Recipe(**_ENTRY),
    "POST /intake/entries/{entry}/exclusions": Recipe(
        **_ENTRY, body=_always({"kind": "organisation_type", "value": "police"})
    ),
    "POST /intake/entries/{entry}/exclusions/lift": Recipe(
        **_ENTRY, body=_always({"kind": "organisation_type", "value": "ministry"})
    ),
    "POST /intake/entries/{entry}/withdraw": Recipe(**_ENTRY, body=_always({"what": "sharing"})),
    "GET /intake/entries/{entry}/bases": Recipe(**_ENTRY),
    "POST /intake/entries/{entry}/bases": Recipe(**_ENTRY, body=_always(_CHECK)),
    "POST /intake/entries/{entry}/bases/{basis}/decide": Recipe(
        **_BASIS, body=_always({"agrees": True, "reasons": "made up for this test"})
    ),
    "POST /intake/entries/{entry}/bases/{basis}/end": Recipe(**_BASIS),
    "POST /intake/entries/{entry}/bases/{basis}/told": Recipe(**_BASIS),
    "GET /intake/bases/waiting": Recipe(**_SEND),
    "GET /intake/entries/{entry}/identification": Recipe(**_ENTRY),
    "POST /intake/entries/{entry}/identification": Recipe(**_ENTRY, body=lambda _: _step_now()),
    "POST /intake/entries/{entry}/erase": Recipe(**_ENTRY, body=_always({"why": "person_asked"})),
    "GET /intake/entries/{entry}/erasure": Recipe(**{**_ENTRY, "path": {"entry": "erased"}}),
    "POST /intake/entries/{entry}/holds": Recipe(
        **_OFFICER, body=_always({"reason": "made up for this test", "until": "2100-01-01T00:00:00Z"})
    ),
    "GET /intake/entries/{entry}/holds": Recipe(**_OFFICER),
    "POST /intake/entries/{entry}/holds/{hold}/lift": Recipe(
        "officer", "intake:rules", path={"entry": "entry", "hold": "hold"}, foreign=True
    ),
    "POST /intake/retention": Recipe(**_RULES, body=_always({"applies": "met", "days": 900})),
    "GET /intake/retention": Recipe(**_RULES),
    "POST /intake/retention/{rule}/cancel": Recipe(**_RULES, path={"rule": "retention"}),
    "GET /intake/limits": Recipe(**_RULES),
    "POST /intake/limits/crowd": Recipe(**_RULES, body=_always({"people": 5, "valid_from": "2100-01-01T00:00:00Z"})),
    "POST /intake/limits/bases": Recipe(
        **_RULES, body=_always({"kind": "court_order", "people": 2, "decide_within_s": 86_400, "lasts_s": 31_536_000})
    ),
    "POST /intake/handoffs": Recipe(**_SEND, body=_handoff),
    "GET /intake/handoffs": Recipe(**_SEND),
    "GET /intake/handoffs/{handoff}": Recipe(**_HANDOFF),
    "GET /intake/handoffs/{handoff}/disclosures": Recipe(**_HANDOFF),
    "GET /intake/handoffs/{handoff}/details": Recipe(**_HANDOFF),
    "GET /intake/handoffs/{handoff}/copies": Recipe(**_HANDOFF),
    "POST /intake/handoffs/{handoff}/cancel": Recipe(**_HANDOFF),
    "POST /intake/handoffs/{handoff}/ask-again": Recipe(**_HANDOFF),
    "POST /intake/screenings": Recipe(
        **_SEND, body=lambda _: {"digest": sha256(uuid4().bytes).hexdigest(), "area": "KH-1"}
    ),
    "GET /intake/screenings/{screening}": Recipe(**_SCREENING),
    "POST /intake/screenings/{screening}/rows": Recipe(**_SCREENING, body=_row),
    "POST /intake/screenings/{screening}/finish": Recipe(**_SCREENING, body=_always({"rows": 0})),
    "GET /intake/screenings/{screening}/findings": Recipe(**_SCREENING),
    "GET /intake/screenings/{screening}/entries": Recipe(**_SCREENING),
    "POST /intake/questions/next-candidate": Recipe("network", body=_candidates),
    "POST /intake/questions/readable-offers": Recipe("network", body=_offers),
    "POST /intake/questions/may-accept": Recipe(
        "network", body=lambda stage: _asked(stage, place=stage.objects["place"], eligibility={})
    ),
    "POST /intake/questions/hand-over-code": Recipe("network", body=lambda stage: _asked(stage, code="123456")),
    "POST /intake/questions/detail": Recipe("network", body=lambda stage: _asked(stage, decline="other_reviewed")),
    "POST /intake/questions/rules-stand": Recipe("network", body=_pair),
    "POST /intake/questions/bases-counted": Recipe("network", body=lambda stage: {"networks": [stage.world.network]}),
    "GET /intake/packets/{offer}": Recipe(**_TICKET),
    "PUT /intake/packets/{offer}/whereabouts": Recipe(**_TICKET, body=_always({"meeting_point": "north gate"})),
    "GET /intake/packets/{offer}/erasure": Recipe(**_TICKET),
    "PUT /intake/packets/{offer}/erasure": Recipe(**_TICKET, body=_always({"statement": "made.up.statement"})),
    "GET /intake/rules/{kind}": Recipe(**_RULES, path={"kind": "kind"}),
    "POST /intake/rules/need-to-know": Recipe(
        **_RULES, body=_always({"group": "other", "stage": "offer", "fields": ["needs"]})
    ),
    "POST /intake/rules/agreements": Recipe(**_RULES, body=_agreement),
    "POST /intake/rules/corridors": Recipe(
        **_RULES,
        body=_always({"from_country": "KH", "to_country": "VN", "categories": ["health"], "legal_basis": "sample"}),
    ),
    "POST /intake/rules/{kind}/{rule}/end": Recipe(**_RULES, path={"kind": "kind", "rule": "rule"}),
    "GET /intake/cases/{case}/audit": Recipe("officer", "intake:rules", path={"case": "case"}, foreign=True),
    "GET /referral/offers": Recipe(**_RECEIVE),
    "GET /referral/copies": Recipe(**_RECEIVE),
    "GET /referral/offers/{offer}": Recipe(**_ACCEPTED),
    "POST /referral/offers/{offer}/accept": Recipe(**_OPEN),
    "POST /referral/offers/{offer}/decline": Recipe(**_OPEN, body=_always({"reason": "other_reviewed"})),
    "POST /referral/offers/{offer}/ticket": Recipe(**_ACCEPTED),
    "POST /referral/offers/{offer}/arrived": Recipe(**_ACCEPTED, body=_always({"code": "000000"})),
    "POST /referral/offers/{offer}/verify-arrival": Recipe(**_ACCEPTED, body=_always({"code": "000000"})),
    "POST /referral/offers/{offer}/outcome": Recipe(**_ACCEPTED, body=_always({"outcome": "needs_met"})),
    "POST /referral/referrals/{referral}/departed": Recipe(
        "sender", "referral:send", path={"referral": "handoff"}, foreign=True
    ),
    "GET /referral/escalations": Recipe("coordinator", "referral:coordinate"),
    "GET /referral/bases": Recipe("coordinator", "referral:coordinate"),
    "GET /referral/late-copies": Recipe("coordinator", "referral:coordinate"),
    "GET /referral/escalations/{referral}": Recipe(**_COORDINATE),
    "POST /referral/escalations/{referral}/take": Recipe(**_COORDINATE),
    "POST /referral/escalations/{referral}/ask-again": Recipe(**_COORDINATE),
    "POST /referral/escalations/{referral}/ask": Recipe(
        **_COORDINATE, body=lambda stage: {"place": stage.objects["place"]}
    ),
    "POST /referral/escalations/{referral}/close": Recipe(**_COORDINATE),
    "POST /referral/escalations/{referral}/hand-back": Recipe(**_COORDINATE),
    "POST /referral/escalations/{referral}/confirm-arrival": Recipe(**_COORDINATE),
    "GET /referral/places": Recipe(**_RECEIVE),
    "GET /referral/places/{place}": Recipe(**_PLACE),
    "PUT /referral/places/{place}/count": Recipe(**_PLACE, body=_always({"usable": 9, "more_tonight": 1})),
    "GET /referral/organisations": Recipe(**_ADMIN),
    "POST /referral/organisations": Recipe(**_ADMIN, body=_always({"name": "Made", "type": "ngo", "country": "KH"})),
    "POST /referral/organisations/{organisation}/suspend": Recipe(**_ADMIN, path={"organisation": "organisation"}),
    "POST /referral/organisations/{organisation}/reinstate": Recipe(**_ADMIN, path={"organisation": "organisation"}),
    "POST /referral/networks": Recipe(
        **_ADMIN, body=lambda stage: {"name": "Made", "coordinator": stage.people["coordinator"].id, "sample": True}
    ),
    "POST /referral/networks/{network}/members": Recipe(
        **_ADMIN, path={"network": "network"}, body=lambda stage: {"organisation": stage.people["receiver"].id}
    ),
    "POST /referral/networks/{network}/coordinator": Recipe(
        **_ADMIN, path={"network": "network"}, body=lambda stage: {"organisation": stage.people["coordinator"].id}
    ),
    "POST /referral/clients": Recipe(**_ADMIN, body=_client),
    "GET /referral/clients": Recipe(**_ADMIN),
    "POST /referral/clients/{client}/revoke": Recipe(**_ADMIN, path={"client": "client"}),
    "POST /referral/clients/{client}/keys": Recipe(
        **_ADMIN, path={"client": "client"}, body=lambda stage: {"public_key": _client(stage)["public_key"]}
    ),
    "POST /referral/clients/{client}/keys/{thumbprint}/revoke": Recipe(
        **_ADMIN, path={"client": "client", "thumbprint": "thumbprint"}
    ),
    "GET /referral/approvals": Recipe("receiver"),
    "POST /referral/approvals/{approval}/approve": Recipe("receiver", path={"approval": "approval"}, foreign=True),
    "POST /referral/approvals/{approval}/refuse": Recipe("receiver", path={"approval": "approval"}, foreign=True),
    "POST /referral/places": Recipe(**_ADMIN, body=_place),
    "POST /referral/oauth/token": Recipe("anybody", form=True),
    "GET /referral/.well-known/jwks.json": Recipe("anybody"),
    "GET /intake/.well-known/jwks.json": Recipe("anybody"),
    "POST /referral/sessions/exchange": Recipe("anybody", body=_always({"session": "x" * 43, "audience": "intake"})),
    "GET /notify/overview": Recipe("coordinator", "notify:watch"),
    "GET /notify/changes": Recipe("coordinator", "notify:watch", stream=True),
    "POST /notify/addresses": Recipe(
        "administrator",
        "notify:admin",
        body=lambda stage: {"organisation": stage.people["receiver"].id, "email": "inbox@sample.example"},
    ),
}


async def send(stage: Stage, operation: Operation, token: str | None, *, method: str | None = None,
               objects: Mapping[str, str] | None = None, body: Any = None,
               headers: Mapping[str, str] | None = None) -> httpx.Response:  # fmt: skip
    """A request for an operation, valid but for what is given. Of a stream only the beginning is read."""
    recipe, known = RECIPES[operation.id], {**stage.objects, **(objects or {})}
    path = operation.template.format(**{name: known[which] for name, which in recipe.path.items()})
    verb = method or operation.method
    all_headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if verb == "POST":
        all_headers["Idempotency-Key"] = str(uuid4())
    if verb == "PUT":
        all_headers["If-Match"] = '"v1"'
    content = body if body is not None else (recipe.body(stage) if recipe.body else None)
    request = stage.client.build_request(
        verb,
        path,
        json=content if verb in {"POST", "PUT", "PATCH"} else None,
        headers={**all_headers, **(headers or {})},
    )
    response = await stage.client.send(request, stream=recipe.stream)
    if not recipe.stream:
        return response
    try:
        if response.status_code >= 400:
            await response.aread()
    finally:
        await response.aclose()
    return response


async def staged(world: World) -> Stage:
    """Set the stage: an accepted hand-off, one with an open offer, one that nobody can take, and a stranger."""
    house = await world.house("Stage house", places=9)
    stranger = await world.organisation("Stranger", "shelter", [*PARTNER_SCOPES, "intake:rules"])
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": stranger.id})
    entry = await world.ready_person(health_notes="asthma")
    handoff = await world.handoff(entry)
    accepted = str((await world.offer(house))["id"])
    await house.partner.post(f"/referral/offers/{accepted}/accept")
    await world.state(handoff, "ready")
    second = await world.handoff(await world.ready_person())

    async def still_open() -> Any:
        offers = (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
        return offers and offers[0]["id"]

    opened = str(await eventually(still_open))
    nobody = await world.handoff(await world.ready_person(), service_type="representation")
    await world.state(nobody, "unroutable")
    rule = await world.admin.post("/intake/rules/corridors", RECIPES["POST /intake/rules/corridors"].body(None))
    kept = {"applies": "met", "days": 36_000, "valid_from": "2100-01-01T00:00:00Z"}
    retention = await world.admin.post("/intake/retention", kept)
    await world.admin.post("/notify/addresses", {"organisation": house.id, "email": "inbox@sample.example"})
    screening = await world.sender.partner.post("/intake/screenings", {"digest": "ab" * 32, "area": "KH-1"})
    order = {
        "kind": "court_order", "justification": "made up for this test", "categories": ["legal_status"], "at_once": True,
        "recipients": {"organisations": [world.sender.id]},
    }  # fmt: skip
    basis = await world.sender.partner.post(f"/intake/entries/{entry}/bases", order)
    await world.sender.partner.post(f"/intake/entries/{entry}/identification", {**_step_now(), "status": "possible"})
    erased = await world.entry()
    await world.sender.partner.post(f"/intake/entries/{erased}/erase", {"why": "mistake"})
    officer = Organisation(world.sender.id, "Officer", await second_system(world, world.sender, ["intake:rules"]))
    hold = await officer.partner.post(
        f"/intake/entries/{entry}/holds", RECIPES["POST /intake/entries/{entry}/holds"].body(None)
    )
    async with world.made.services["referral"].db.transaction("stage.copy") as tx:  # that is not answered for in time
        await tx.conn.execute(
            """
            insert into held_copy (offer, referral, organisation, asked_at, answer_by)
            select id, referral, organisation, now() - interval '9 days', now() - interval '6 days' from offer where id = $1
            """,
            UUID(accepted),
        )
    another = {"public_key": _client_key()}
    waits = await world.admin.post(f"/referral/clients/{house.partner.client_id}/keys", another)
    objects = {
        "approval": waits["approval"],
        "basis": basis["id"], "erased": erased, "hold": hold["id"],
        "entry": entry, "handoff": handoff, "accepted": accepted, "open": opened, "second": second, "escalated": nobody,
        "place": world.places[house.id], "network": world.network, "kind": "corridors", "rule": rule["id"],
        "retention": retention["id"],
        "screening": screening["id"], "organisation": stranger.id, "client": stranger.partner.client_id,
        "thumbprint": stranger.partner._key.thumbprint(), "case": entry,
    }  # fmt: skip
    people = {
        "sender": world.sender, "officer": officer, "receiver": house, "coordinator": world.coordinator,
        "administrator": Organisation("", "Administrator", world.admin),
    }  # fmt: skip
    client = await world.stack.enter_async_context(
        httpx.AsyncClient(base_url=world.made.url, timeout=15, verify=trusted())
    )
    return Stage(world, client, people, objects, stranger)
