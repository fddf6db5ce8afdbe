"""The holder as the network and houses meet it: signed questions and tickets for organisations that only the test knows,
so that nothing but the test asks for a person."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from services.cli.client import ApiProblem, Partner, trusted
from services.cli.installation import Installation
from services.intake.keystore import store as keystore
from spean.auth import QUESTION_TOKEN_S, TICKET_S, Kind, Signer
from spean.settings import Settings
from spean.statement import STATEMENT
from tests.builders import CATEGORIES, PURPOSES, World, eventually, network_in


@pytest.fixture(scope="module", name="world")
async def shared_world(installed: tuple[Installation, Settings]) -> AsyncIterator[World]:
    """One network for a module whose tests ask about people of their own, and which has no houses of its own."""
    async with network_in(*installed) as found:
        yield found


@pytest.fixture(name="own")
async def own_world(installed: tuple[Installation, Settings]) -> AsyncIterator[World]:
    """A network for one test."""
    async with network_in(*installed) as found:
        yield found


# What every house's own system is called here.
SYSTEM = "test-house"


@dataclass
class House:
    """A house that the network knows nothing of, with an agreement with the sender."""

    facts: dict[str, Any]
    key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("Ed25519", auto_kid=True), repr=False)

    @property
    def id(self) -> str:
        return str(self.facts["organisation"])

    @property
    def public_key(self) -> dict[str, str]:
        known = self.key.as_dict(private=False)
        return {name: str(known[name]) for name in ("kty", "crv", "x")}


@dataclass
class Holder:
    """The intake service of an installation, and the network's signature."""

    world: World

    @property
    def signer(self) -> Signer:
        signer: Signer = self.world.made.services["referral"].app.state.signer
        return signer

    def question_token(self) -> str:
        name = self.world.made.settings.holder
        return self.signer.sign(Kind.QUESTION, f"holder:{name}", QUESTION_TOKEN_S, {"scope": "question", "sub": "test"})

    def ticket(self, case: Case) -> str:
        packet = {"offer": case.offer, "referral": case.handoff, "facts": case.house.facts, "by": SYSTEM,
                  "signs": [case.house.public_key]}  # fmt: skip
        name = self.world.made.settings.holder
        return self.signer.sign(Kind.TICKET, f"packet:{name}", TICKET_S, {"sub": case.house.id, "packet": packet})

    async def ask(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.world.made.url, verify=trusted(), timeout=15) as client:
            headers = {"Authorization": f"Bearer {self.question_token()}"}
            reply = await client.post(f"/intake/questions/{path}", json=question, headers=headers)
        assert reply.status_code == 200, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    async def house(self, *, agreed: bool = True, **facts: Any) -> House:
        known = {"organisation": str(uuid4()), "type": "shelter", "country": "KH", "law_enforcement": False,
                 "status": "active", **facts}  # fmt: skip
        house = House(known)
        if agreed:
            for one, other in ((self.world.sender.id, house.id), (house.id, self.world.sender.id)):
                agreement = {"sender": one, "recipient": other, "categories": CATEGORIES, "purposes": PURPOSES}
                await self.world.admin.post("/intake/rules/agreements", agreement)
        return house

    async def next_candidate(self, handoff: str, *houses: House, **eligibility: Any) -> str | None:
        """Which of these houses may be asked: its id, or None."""
        places = {str(uuid4()): house for house in houses}
        candidates = [
            {"place": place, "organisation": house.facts, "area": "KH-1",
             "service_types": ["emergency_bed", "medium_term_shelter", "forensic_exam"],
             "eligibility": eligibility}
            for place, house in places.items()
        ]  # fmt: skip
        chosen = (await self.ask("next-candidate", {"referral": handoff, "candidates": candidates}))["place"]
        return None if chosen is None else places[chosen].id

    async def requested(self, *entries: str, **more: Any) -> str:
        """A hand-off that the network has taken in, and for which it has nobody to ask."""
        handoff = await self.world.handoff(*entries, **more)
        await self.world.state(handoff, "unroutable")
        return handoff

    async def offered(self, house: House, *entries: str, **more: Any) -> Case:
        """A hand-off that the house may be asked for."""
        handoff = await self.requested(*entries, **more)
        await self._let_rest(handoff)
        assert await self.next_candidate(handoff, house) == house.id
        return Case(self, house, list(entries), handoff)

    async def _let_rest(self, handoff: str) -> None:
        """The test speaks for the network from here on: the network itself has nothing more to say of it."""
        async with self.world.made.services["referral"].db.transaction("test.rest") as tx:
            await tx.conn.execute("update referral set state = 'on-hold' where id = $1", UUID(handoff))

    async def released(self, house: House, *entries: str) -> Case:
        """The same, accepted: the first ticket releases the packet."""
        case = await self.offered(house, *entries)
        await case.packet()
        return case


@dataclass
class Case:
    """A hand-off put to one house, under an offer id of the test's."""

    holder: Holder
    house: House
    entries: list[str]
    handoff: str
    offer: str = field(default_factory=lambda: str(uuid4()))

    @property
    def sender(self) -> Partner:
        return self.holder.world.sender.partner

    @property
    def app(self) -> Any:
        """The door itself, for who watches each piece of an answer leave (`Reader`)."""
        return self.holder.world.made.services["intake"].app

    async def packet(self, method: str = "GET", what: str = "", body: Any = None) -> Any:
        """Raises ApiProblem."""
        path = f"/intake/packets/{self.offer}{what}"
        return (await self.sender.request(method, path, body, token=self.holder.ticket(self))).json()

    async def answer(self, answer: str, **why: Any) -> Any:
        """What became of the copy, as the house's system signs it. Raises ApiProblem."""
        return await self.packet("PUT", "/erasure", {"statement": await self.statement(answer=answer, **why)})

    async def statement(self, key: OKPKey | None = None, **claims: Any) -> str:
        """Of what is asked now; `claims` in place of the usual."""
        asked = await self.packet("GET", "/erasure")
        usual = {
            "iss": SYSTEM, "organisation": self.house.id, "offer": self.offer, "request": asked["request"],
            "answer": "erased", "iat": int(time.time()), "jti": str(uuid4()),
        }  # fmt: skip
        signing = key or self.house.key
        header = {"alg": "Ed25519", "kid": signing.kid, "typ": STATEMENT}
        return jwt.encode(header, {**usual, **claims}, signing, ["Ed25519"])

    async def content(self) -> dict[str, Any]:
        """The offer as the house may read it."""
        question = {"organisation": self.house.facts, "offers": [{"offer": self.offer, "referral": self.handoff}]}
        found: dict[str, Any] = (await self.holder.ask("readable-offers", question))["offers"][0]
        return found

    def acceptance(self, **eligibility: Any) -> dict[str, Any]:
        return {"organisation": self.house.facts, "offer": self.offer, "referral": self.handoff, "place": str(uuid4()),
                "eligibility": eligibility}  # fmt: skip

    async def may_accept(self, **eligibility: Any) -> bool:
        return bool((await self.holder.ask("may-accept", self.acceptance(**eligibility)))["allowed"])

    async def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.sender.get(f"/intake/handoffs/{self.handoff}")
        return found

    async def said(self) -> list[str]:
        """What the holder has said about the hand-off, by short type, in order."""
        return [type_ for type_, _ in await said(self.holder.world, self.handoff)]


async def said(world: World, handoff: str) -> list[tuple[str, dict[str, Any]]]:
    """(type, data) of everything the holder has said about a hand-off, in order."""
    async with database(world) as db:
        rows = await db.fetch(
            "select type, payload, sequence from outbox where aggregateid = $1 "
            "union all select type, payload, sequence from said where aggregateid = $1 order by sequence",
            handoff,
        )
    names = [row["type"].removeprefix("org.spean.").removesuffix(".v1") for row in rows]
    return [(name, json.loads(row["payload"])) for name, row in zip(names, rows, strict=True)]


@asynccontextmanager
async def database(world: World, name: str = "intake") -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A session of the cluster's own account."""
    conn = await asyncpg.connect(world.made.cluster.dsn(name))
    try:
        yield conn
    finally:
        await conn.close()


@asynccontextmanager
async def cut_off(world: World, name: str) -> AsyncIterator[None]:
    """A database takes no connection, and whoever was connected is cut off."""
    end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"

    async with database(world, "postgres") as db:

        async def nobody_is_in() -> bool:
            return not await db.fetch(end, name)

        await db.execute(f"alter database {name} allow_connections false")
        try:
            for _ in range(2):  # who was just being let in is seen a moment later
                await eventually(nobody_is_in)
            yield
        finally:
            await db.execute(f"alter database {name} allow_connections true")


async def withdraw(world: World, entry: str, what: str = "sharing", **more: Any) -> Any:
    return await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": what}, **more)


async def waiting(db: asyncpg.Connection[asyncpg.Record]) -> int:
    """How many sessions wait for a lock."""
    found: int = await db.fetchval("select count(*) from pg_locks where not granted")
    return found


async def waits_for_a_lock(db: asyncpg.Connection[asyncpg.Record]) -> bool:
    return await waiting(db) > 0


class Pausing:
    """Awaits a coroutine and halts it behind its `at`-th suspension, until `go` is set."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int) -> None:
        self._work, self._at = work, at
        self.passed, self.halted, self.go = 0, asyncio.Event(), asyncio.Event()

    def __await__(self) -> Generator[Any, None, Any]:
        step, argument = self._work.send, None
        while True:
            try:
                waited = step(argument)
            except StopIteration as done:
                return done.value
            self.passed += 1
            try:
                yield waited
                if self.passed == self._at:
                    self.halted.set()
                    yield from self.go.wait().__await__()
                step, argument = self._work.send, None
            except BaseException as error:  # noqa: BLE001 (what is thrown in belongs to the work)
                step, argument = self._work.throw, error


@dataclass
class Reader:
    """One request to the intake service inside this process, so that a test decides how its answer is sent."""

    app: Any
    method: str
    path: str
    token: str
    body: Any = None

    async def run(self, sent: Callable[[bytes], Coroutine[Any, Any, None]]) -> int:
        """`sent` takes each piece of the body. Returns the status."""
        content = b"" if self.body is None else json.dumps(self.body).encode()
        path, _, query = self.path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": self.method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(b"authorization", f"Bearer {self.token}".encode()), (b"content-type", b"application/json"),
                        (b"content-length", str(len(content)).encode())],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
        }  # fmt: skip
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                await sent(message.get("body", b""))

        await self.app(scope, receive, send)
        return status


async def reads_packet(case: Case) -> Reader:
    return Reader(case.app, "GET", f"/packets/{case.offer}", case.holder.ticket(case))


async def reads_offers(case: Case) -> Reader:
    question = {"organisation": case.house.facts, "offers": [{"offer": case.offer, "referral": case.handoff}]}
    return Reader(case.app, "POST", "/questions/readable-offers", case.holder.question_token(), question)


async def reads_handoff(case: Case) -> Reader:
    return Reader(case.app, "GET", f"/handoffs/{case.handoff}", await case.sender.token())


async def lists_handoffs(case: Case) -> Reader:
    return Reader(case.app, "GET", "/handoffs", await case.sender.token())


async def settled(world: World) -> None:
    """Returns when all has ended that was being written when it was called: what a reader is told leaves before the
    transaction that counts it is over, and another reader does not wait for that."""
    async with database(world) as db:
        until = await db.fetchval("select pg_current_xact_id()::text::bigint")

        async def over() -> bool:
            return bool(await db.fetchval("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $1", until))

        await eventually(over)


async def erase(world: World, entry: str) -> None:
    """Destroy a person's key, as whoever keeps the key store would."""
    async with database(world, keystore.DATABASE) as db:
        await db.execute("update data_key set wrapped = null, destroyed_at = now() where person = $1", entry)


def refused(code: str) -> AbstractContextManager[pytest.ExceptionInfo[ApiProblem]]:
    """The API refuses with exactly this code."""
    return pytest.raises(ApiProblem, match=rf"^\d+ {code}:")
