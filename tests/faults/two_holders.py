"""A network and two holders: three operators, each with its own PostgreSQL, keys and processes, on one bus; on Kafka each
with its own account. The clocks of all of them can be moved on together."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from deploy.kafka.local import LocalKafka
from schemas.questions import OrganisationFacts
from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli import bootstrap, installation
from services.cli.client import AtHolder, Partner
from services.cli.installation import BUS_DATABASE, Installation
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from services.intake.issuing import handlers as issuing
from services.intake.issuing.store import System
from spean import embedded
from spean.bus import Bus, kafka_acls
from spean.bus.connect import connect
from spean.bus.kafka import KafkaBus
from spean.provision import Roles, service_dsns
from spean.service import Service, uses
from spean.settings import Settings
from tests.builders import CATEGORIES, PURPOSES, Organisation, World, organisation
from tests.bus.authority import Authority
from tests.faults import checker, snapshot
from tests.faults.checker import Finding
from tests.faults.cluster import READY_S, ROOT, STOP_S, free_port
from tests.faults.load import Journal
from tests.faults.rules_log import LOG_RULES
from tests.faults.rules_truth import TRUTH_RULES
from tests.faults.snapshot import BUS, KEYS, TABLES, Sources

NETWORK, ALL = ("referral", "notify"), ("api", "relay", "consume", "clock")
COUNTRY = {"a": "KH", "b": "TH"}
# Takes nobody's word but its own on who may write there; the other takes the network's.
OWN_ISSUER = "b"
# Who signs in to Kafka, by operator. The network's two services have one account.
ACCOUNTS = {"network": "spean-network", **{holder: f"spean-intake-{holder}" for holder in COUNTRY}}
NETWORK_ACCOUNT = dict.fromkeys((f"spean-{name}" for name in NETWORK), f"User:{ACCOUNTS['network']}")
# What runs: whose it is, its services, its roles. The second holder's door and its loops can go one after the other.
MEMBERS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "network": ("network", NETWORK, ALL),
    "a": ("a", ("intake",), ALL),
    "b-api": ("b", ("intake",), ("api",)),
    "b-loops": ("b", ("intake",), ("relay", "consume", "clock")),
    # Or all of it is one process.
    "b": ("b", ("intake",), ALL),
}
TOGETHER = ("network", "a", "b-api", "b-loops")


@dataclass
class Operator:
    """One operator's installation, as seen from here (nothing runs here), and where its intake answers, if it has one."""

    made: Installation
    postgres: embedded.Running
    intake: str = ""


@dataclass
class Grounds:
    """The operators by name (`network`, `a`, `b`), what runs of them, and a world at each holder: one network, the same
    houses and coordinator, a border post and rules of its own."""

    folder: Path
    operators: dict[str, Operator]
    members: dict[str, Process] = field(default_factory=dict)
    worlds: dict[str, World] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    ahead: timedelta = timedelta(0)
    # On Kafka: what each operator signs in with.
    accounts: Mapping[str, Mapping[str, str | Path]] = field(default_factory=dict)
    # Of whose source whoever is started from now on runs.
    tree: Path = ROOT

    async def spawn(self, *names: str) -> None:
        await asyncio.gather(*(self._spawn(name) for name in names))

    async def _spawn(self, name: str) -> None:
        """Raises AssertionError where it does not start."""
        operator, services, roles = MEMBERS[name]
        settings = self.operators[operator].made.settings
        own = self.operators[operator].intake or f"{settings.url}/"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SPEAN_")},
            "SPEAN_DATA": str(settings.data), "SPEAN_KEYS": str(settings.keys), "SPEAN_POSTGRES": settings.postgres,
            "SPEAN_BUS": settings.bus, "SPEAN_URL": settings.url, "SPEAN_HOLDER": settings.holder,
            "SPEAN_COUNTRY": settings.country, "SPEAN_HOLDERS": json.dumps(settings.holders),
            "SPEAN_ISSUER": settings.issuer, "SPEAN_PORT": own.rpartition("/")[0].rpartition(":")[2] if "api" in roles else "0",
            **{f"SPEAN_{name.upper()}": str(value) for name, value in self.accounts.get(operator, {}).items()},
        }  # fmt: skip
        told = [name, ",".join(services), ",".join(roles), str(self.ahead.total_seconds())]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.run_shifted", *told, cwd=self.tree, env=environment, stdin=PIPE,
                stdout=PIPE, stderr=log,
            )  # fmt: skip
        self.members[name] = process
        said = await _said(process)
        assert said == "serving", f"{name} did not start: {(self.folder / f'{name}.log').read_text()[-600:]}"

    async def pass_time(self, minutes: int) -> None:
        """Everybody who runs is that much later at once; whoever is started from now on is, too."""
        self.ahead += timedelta(minutes=minutes)
        for process in self.members.values():
            assert process.stdin is not None
            process.stdin.write(f"{self.ahead.total_seconds()}\n".encode())
        assert [await _said(process) for process in self.members.values()] == ["moved"] * len(self.members)

    def freeze(self, name: str) -> None:
        self.members[name].send_signal(signal.SIGSTOP)

    async def kill(self, *names: str) -> None:
        for name in names:
            process = self.members.pop(name)
            process.kill()
            await process.wait()

    async def stop(self) -> None:
        for process in self.members.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name in list(self.members):
            try:
                await asyncio.wait_for(self.members[name].wait(), STOP_S)
            except TimeoutError:
                await self.kill(name)

    @asynccontextmanager
    async def bus_of(self, holder: str) -> AsyncIterator[Bus]:
        """The bus as this holder's own services have it."""
        settings = self.operators[holder].made.settings.model_copy(update=self.accounts.get(holder, {}))
        bus = await connect(settings.bus, settings)
        try:
            yield bus
        finally:
            await bus.close()

    async def networks_token(self, post: AtHolder, holder: str) -> str:
        """What the network signs for this partner and this holder alone."""
        intake = self.operators[holder].intake
        async with Partner(post.url, post.client_id, post._key, resource=intake, patience_s=30) as partner:
            return await partner.token()

    # --- the network's own records, and the judge -----------------------------------------------------------------

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """From the network's database."""
        async with self.operators["network"].made.services["referral"].db.transaction("test") as tx:
            return await tx.conn.fetch(statement, *values)

    async def findings(self) -> list[Finding]:
        """What is wrong once nothing moves any more. The log is judged writer by writer; what the holders keep is judged as
        if one holder kept it, for nothing may be at both."""
        services = {**self.operators["network"].made.services, **{h: self._intake(h) for h in COUNTRY}}
        async with self._sources() as sources:
            await checker.quiet(sources, services)
            seen = await snapshot.read(sources)
        for name, tables in (("intake", ("", TABLES["intake"])), (KEYS, (f" {KEYS}", TABLES[KEYS]))):
            suffix, names = tables
            rows = {table: [row for h in COUNTRY for row in seen.of(h + suffix, table)] for table in names}
            seen = replace(seen, rows={**seen.rows, name: rows})
        together = {**self.operators["network"].made.services, "intake": services["a"]}
        return [
            Finding(rule.__name__, what)
            for rules, judged in ((LOG_RULES, services), (TRUTH_RULES, together))
            for rule in rules
            for what in rule(seen, self.journal, judged)
        ]

    def _intake(self, holder: str) -> Service:
        return self.operators[holder].made.services["intake"]

    @asynccontextmanager
    async def _sources(self) -> AsyncIterator[Sources]:
        bus = self.operators["network"].made.bus if self.accounts else None
        network = {name: ("network", name) for name in (*NETWORK, *([] if bus else [BUS]))}
        own = {h: (h, "intake") for h in COUNTRY} | {f"{h} {KEYS}": (h, KEYS) for h in COUNTRY}
        tables = {name: TABLES[database] for name, (_, database) in {**network, **own}.items() if database in TABLES}
        async with AsyncExitStack() as stack:
            conns = {}
            for name, (operator, database) in {**network, **own}.items():
                conns[name] = await asyncpg.connect(self.operators[operator].made.cluster.dsn(database), timeout=30)
                stack.push_async_callback(conns[name].close)
            yield Sources(conns, bus, tables, self.ahead, COUNTRY)


async def _said(process: Process) -> str:
    """The next line of a process; nothing where it says none."""
    assert process.stdout is not None
    try:
        return (await asyncio.wait_for(process.stdout.readline(), READY_S)).decode().strip()
    except TimeoutError:
        return ""


async def _operator(stack: AsyncExitStack, folder: Path, name: str, **chosen: Any) -> Operator:
    """Its PostgreSQL runs; its databases are made, and the topics."""
    folder = folder / name
    folder.mkdir(mode=0o755)
    running = await embedded.start(folder / "pg", password_file=folder / "keys" / "postgres", fast_unsafe=True)
    stack.push_async_callback(running.stop)
    settings = Settings(
        data=folder / "data", keys=folder / "keys", postgres=running.server.dsn("postgres"), port=0, **chosen
    )
    names = NETWORK if name == "network" else ("intake",)
    made = await stack.enter_async_context(installation.installed(settings, names, listening=False))
    return Operator(made, running, settings.holders[name] if name != "network" else "")


@asynccontextmanager
async def two_holders(folder: Path, kafka: tuple[LocalKafka, Authority] | None = None) -> AsyncIterator[Grounds]:
    """Everything runs. The bus lies in the network's PostgreSQL, or is this Kafka, which keeps accounts and permissions:
    here, where nothing runs, the one that administers it is used."""
    url = f"http://127.0.0.1:{free_port()}"
    holders = {name: f"http://127.0.0.1:{free_port()}/intake" for name in COUNTRY}
    async with AsyncExitStack() as stack:
        told: dict[str, Any] = {"url": url, "holders": holders}
        if kafka is not None:
            told |= {"bus": kafka[0].address, **kafka[1].account("spean")}
        network = await _operator(stack, folder, "network", **told)
        if kafka is None:
            roles = Roles.load(network.made.settings.keys)
            told["bus"] = service_dsns(network.made.cluster, roles, BUS_DATABASE)[1]
        operators = {"network": network}
        for name, country in COUNTRY.items():
            more = {"holder": name, "country": country, "issuer": holders[name] if name == OWN_ISSUER else ""}
            operators[name] = await _operator(stack, folder, name, **told, **more)
        grounds = Grounds(folder, operators)
        if kafka is not None:
            grounds.accounts = {name: kafka[1].account(account) for name, account in ACCOUNTS.items()}
            await _permit(network.made.bus)
        try:
            await grounds.spawn(*TOGETHER)
            async with AsyncExitStack() as partners:
                await _people_it(grounds, partners)
                yield grounds
        finally:
            await grounds.stop()


async def _permit(bus: Bus) -> None:
    """To each account what its services do, and nothing else."""
    assert isinstance(bus, KafkaBus)
    await bus.apply_acls(kafka_acls.wanted(uses(COUNTRY), NETWORK_ACCOUNT))


async def _admitted(at: Operator, whose: Organisation, partner: Partner, scope: str, network: str) -> AtHolder:
    """As the holder's operator admits a system, with the key that it has at the network."""
    facts = OrganisationFacts(
        organisation=UUID(whose.id), type=OrganisationType.BORDER_POST, country=at.made.settings.country,
        law_enforcement=False, status=OrganisationStatus.ACTIVE,
    )  # fmt: skip
    one = System(partner.client_id, facts, frozenset({UUID(network)}), frozenset({scope}), partner.public_key)
    async with at.made.services["intake"].db.transaction("test.admit") as tx:
        await issuing.admit(tx, one)
    return partner.at(at.intake, at.intake)


async def _people_it(grounds: Grounds, stack: AsyncExitStack) -> None:
    """One network with three houses; at each holder a border post of its country, and the rules by which it shares."""
    made = grounds.operators["network"].made
    key = await bootstrap.administrator(made.services["referral"].db, made.settings)
    admin = await stack.enter_async_context(Partner(made.url, bootstrap.CLIENT, key, patience_s=30))
    coordinator = await organisation(admin, stack, made.url, "Coordinator", "coordination", ["referral:coordinate"])
    founded = {"name": "Two holders", "coordinator": coordinator.id, "sample": True}
    network = (await admin.post("/referral/networks", founded))["id"]
    for name, country in COUNTRY.items():
        intake = grounds.operators[name].intake
        post = await organisation(
            admin, stack, made.url, f"Border post {name}", "border_post", ["intake:send", "referral:send"], country
        )
        await admin.post(f"/referral/networks/{network}/members", {"organisation": post.id})
        at, sends = admin.at(intake), post.partner.at(intake)
        if name == OWN_ISSUER:
            at = await _admitted(grounds.operators[name], coordinator, admin, "intake:rules", network)
            sends = await _admitted(grounds.operators[name], post, post.partner, "intake:send", network)
        for partner in (at, sends):
            await stack.enter_async_context(partner)
        for stage, fields in (("offer", OFFER_FIELDS), ("packet", PACKET_FIELDS), ("placement", PLACEMENT_FIELDS)):
            rule = {"network": network, "group": "shelter", "stage": stage, "fields": list(fields)}
            await at.post("/intake/rules/need-to-know", rule)
        sender = Organisation(post.id, post.name, sends)
        grounds.worlds[name] = World(made, at, network, sender, coordinator, stack=stack)
        grounds.journal.senders.add(post.id)
    first, second = grounds.worlds["a"], grounds.worlds["b"]
    for number in range(3):
        house = await first.house(f"House {number}", places=12)
        for one, other in ((second.sender.id, house.id), (house.id, second.sender.id)):
            agreement = {"sender": one, "recipient": other, "categories": CATEGORIES, "purposes": PURPOSES}
            await second.admin.post("/intake/rules/agreements", agreement)
    second.houses, second.places = first.houses, first.places
    crossing = {"categories": CATEGORIES, "legal_basis": "sample"}
    for there, back in (("TH", "KH"), ("KH", "TH")):
        await second.admin.post("/intake/rules/corridors", {"from_country": there, "to_country": back, **crossing})
