"""A holder that is its own issuer: whoever the network vouches for, with whatever scope, opens nothing there; whoever the
holder has admitted opens nothing elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from joserfc.jwk import OKPKey

from schemas.questions import OrganisationFacts
from schemas.rights import SCOPES, StaffRole
from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli import installation
from services.cli.client import ApiProblem, Partner
from services.cli.installation import Installation
from services.intake import main as intake
from services.intake.issuing import handlers, store
from services.intake.issuing.store import System
from services.intake.keystore import store as keystore
from spean.auth import ACCESS_TOKEN_S, Kind
from spean.problem import Refusal
from spean.provision import Roles
from spean.service import Parts, Service
from spean.settings import Settings
from spean.web.visitor import COOKIE
from tests.builders import eventually
from tests.integration import staff
from tests.integration.holder import database
from tests.security.operations import RECIPES, Stage, operations, send


@dataclass
class Own:
    """One more instance of the holder, over the same records, which is its own issuer; behind a port of its own."""

    service: Service
    stage: Stage
    stack: AsyncExitStack

    @property
    def address(self) -> str:
        return str(self.service.app.state.issued_at)

    async def admit(self, organisation: str, *scopes: str, key: OKPKey | None = None) -> Partner:
        """A system of this organisation, as the holder's operator admits it."""
        key, id_ = key or OKPKey.generate_key("Ed25519", auto_kid=True), f"own-{uuid4().hex[:8]}"
        facts = OrganisationFacts(
            organisation=UUID(organisation), type=OrganisationType.BORDER_POST, country="KH", law_enforcement=False,
            status=OrganisationStatus.ACTIVE,
        )  # fmt: skip
        networks = frozenset({UUID(self.stage.world.network)})
        async with self.service.db.transaction("test.admit") as tx:
            await handlers.admit(tx, System(id_, facts, networks, frozenset(scopes), key.as_dict(private=False)))
        network = await self.stack.enter_async_context(Partner(self.stage.world.made.url, id_, key))
        return await self.stack.enter_async_context(network.at(self.address, self.address))


@asynccontextmanager
async def _standing(made: Installation, settings: Settings) -> AsyncIterator[Service]:
    listener = installation.listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/intake"
    # The network's own holder has this very audience: what keeps the two apart is the issuer alone.
    told = settings.model_copy(update={"holders": {settings.holder: address}, "issuer": address})
    service = await intake.build(Parts(told, made.cluster, Roles.load(told.keys), made.bus, made.url))
    own = Installation(told, made.cluster, made.bus, {"intake": service}, made.url, listener)
    try:
        async with installation.running(own, ["api"]):
            yield service
    finally:
        await service.close()
        listener.close()


@pytest.fixture(scope="module")
async def own(stage: Stage, installed: tuple[Installation, Settings]) -> AsyncIterator[Own]:
    async with AsyncExitStack() as stack, _standing(*installed) as service:
        yield Own(service, stage, stack)


async def test_a_token_of_the_networks_opens_nothing_whatever_its_scopes(own: Own) -> None:
    """Signed with the network's key for the very organisation whose records they are, for every audience there is."""
    stage = own.stage
    facts = stage.facts(stage.people["sender"].id).model_dump(mode="json")
    claims = {
        "sub": "administrator", "org": stage.people["sender"].id, "scope": " ".join(SCOPES),
        "networks": [stage.world.network], "facts": facts,
    }  # fmt: skip
    audiences = ["intake", f"intake:{stage.holder}", own.address, "referral", "notify"]
    forged = stage.signer.sign(Kind.ACCESS, audiences, ACCESS_TOKEN_S, claims)
    async with httpx.AsyncClient(base_url=own.address.removesuffix("/intake"), timeout=15) as client:
        here = Stage(stage.world, client, stage.people, stage.objects, stage.stranger)
        tried = [one for one in operations(stage.world.made) if (RECIPES[one.id].scope or "").startswith("intake:")]
        assert len(tried) > 30
        for operation in tried:
            refused = await send(here, operation, forged)
            assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (401, "bad-token"), operation.id
            if operation.method == "GET":  # the control: at the network's own holder it opens them all
                assert (await send(stage, operation, forged)).status_code in {200, 404}, operation.id


async def test_a_session_of_the_networks_opens_no_page(own: Own) -> None:
    stage = own.stage
    member = await staff.member(stage.world.made, stage.people["sender"].id, StaffRole.SENDER)
    cookie, path = {"cookie": f"{COOKIE}={(await member.signs_in()).cookie}"}, "/pages/handoffs"
    async with httpx.AsyncClient(timeout=15) as client:
        assert (await client.get(f"{stage.world.made.url}/intake{path}", headers=cookie)).status_code == 200
        shut = await client.get(f"{own.address}{path}", headers=cookie)
    assert (shut.status_code, shut.headers["location"].partition("?")[0]) == (303, "/referral/pages/sign-in")


async def test_whom_the_holder_has_admitted_reads_its_own_there_and_nowhere_else(own: Own) -> None:
    stage = own.stage
    path = f"/intake/entries/{stage.objects['entry']}"
    system = await own.admit(stage.people["sender"].id, "intake:send")
    assert (await system.get(path))["person"]["health_notes"] == "asthma"
    with pytest.raises(ApiProblem, match="403 scope"):
        await system.get("/intake/rules/corridors")
    for address in (f"{stage.world.made.url}{path}", f"{stage.world.made.url}/referral/offers"):
        with pytest.raises(ApiProblem, match="401 bad-token"):
            await Partner.request(system, "GET", address)
    stranger = await own.admit(stage.stranger.id, "intake:send", "intake:rules")
    with pytest.raises(ApiProblem, match="404 not-found"):
        await stranger.get(path)
    assert (await stranger.get("/intake/rules/corridors"))["rules"]


async def test_the_networks_tickets_and_questions_are_its_own_still(own: Own) -> None:
    """Who has accepted is the network's to say; what may be read then is the gate's."""
    stage = own.stage
    offer, house = stage.objects["accepted"], stage.people["receiver"].id
    async with httpx.AsyncClient(base_url=own.address, timeout=15) as client:
        for signed, status in (
            (stage.ticket(offer=offer, referral=stage.objects["handoff"], organisation=house), 200),
            (stage.ticket(offer=offer, referral=stage.objects["handoff"], organisation=stage.stranger.id), 409),
            (await stage.people["sender"].partner.token(), 401),
        ):
            reply = await client.get(f"/packets/{offer}", headers={"Authorization": f"Bearer {signed}"})
            assert reply.status_code == status, reply.text


async def test_only_what_was_admitted_and_only_once(own: Own) -> None:
    org, key = own.stage.people["sender"].id, OKPKey.generate_key("Ed25519", auto_kid=True)
    system = await own.admit(org, "intake:send", key=key)
    await system.token()
    async with httpx.AsyncClient(timeout=15) as client:
        for name, other, code in (
            (system.client_id, OKPKey.generate_key("Ed25519", auto_kid=True), "bad-client"),
            ("administrator", key, "bad-client"),
            (own.stage.people["sender"].partner.client_id, own.stage.people["sender"].partner._key, "bad-client"),
        ):
            assert await _refusal(own, name, other) == code
        assert await _refusal(own, system.client_id, key, "intake:send intake:rules") == "scope"
        assert await _refusal(own, system.client_id, key, resource=f"{own.stage.world.made.url}/intake") == "bad-grant"
        sent: list[httpx.Request] = []
        spy = Partner(own.stage.world.made.url, system.client_id, key, issuer=own.address)
        spy._http.event_hooks["request"].append(_kept(sent))
        async with spy:
            await spy.token()
        again = await client.send(httpx.Request("POST", sent[0].url, headers=sent[0].headers, content=sent[0].content))
        assert again.json()["error"] == "invalid_client", "an assertion is good once"
    async with own.service.db.transaction("test.dismiss") as tx:
        await handlers.dismiss(tx, system.client_id)
    assert await _refusal(own, system.client_id, key) == "bad-client"


async def test_who_was_dismissed_stays_so_in_a_database_from_before(
    own: Own, installed: tuple[Installation, Settings]
) -> None:
    system, other = [await own.admit(own.stage.stranger.id, "intake:send") for _ in range(2)]
    async with own.service.db.transaction("test.dismiss") as tx:
        await handlers.dismiss(tx, system.client_id)

    async def kept() -> bool:
        async with database(own.stage.world, keystore.DATABASE) as conn:
            ending = handlers.ending_of(system.client_id)
            return bool(await conn.fetchval("select exists (select from ended where id = $1)", ending))

    await eventually(kept)
    async with database(own.stage.world) as conn:
        await conn.execute("update system set ended_at = null where id = $1", system.client_id)
    assert await system.token(), "the backup alone would let it in"
    async with _standing(*installed) as service, service.db.transaction("test.active") as tx:
        assert await store.active(tx, system.client_id) is None
        assert await store.active(tx, other.client_id) is not None


async def test_a_holder_gives_only_what_is_done_at_a_holder(own: Own) -> None:
    for scopes in ([], ["referral:admin"], ["intake:send", "referral:send"]):
        with pytest.raises(Refusal, match="scope"):
            await own.admit(own.stage.stranger.id, *scopes)


def _kept(sent: list[httpx.Request]) -> Any:
    async def keep(request: httpx.Request) -> None:
        sent.append(request)

    return keep


async def _refusal(own: Own, name: str, key: OKPKey, scope: str = "", resource: str = "") -> str:
    """Why no token is given."""
    asks = Partner(own.stage.world.made.url, name, key, scope, resource=resource, issuer=own.address)
    async with asks:
        with pytest.raises(ApiProblem) as refused:
            await asks.token()
    return refused.value.code
