"""A watched installation from outside: its process, its mail server, its databases, what it refused, what it put out."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.ports import free_port
from services.cli.client import ApiProblem
from services.cli.installation import BUS_DATABASE, Installation
from spean.bus import Bus
from spean.bus.connect import connect
from spean.db import Database
from spean.provision import AddressedCluster, Roles, service_dsns
from spean.settings import Settings
from tests.collector import Collector
from tests.commands import ROOT


class Box:
    """Mails as they came."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (its name)
        self.mails.append(bytes(envelope.original_content or b""))
        return "250 OK"


@dataclass
class Run:
    """One watched installation and everything that came out of it so far."""

    folder: Path
    made: Installation
    settings: Settings
    box: Box
    smtp_port: int
    collector: Collector
    inside: str
    output: bytes = b""
    errors: list[bytes] = field(default_factory=list)

    def database(self, name: str) -> str:
        return self.made.cluster.dsn(name)

    async def sql(self, name: str, statement: str) -> None:
        conn = await asyncpg.connect(self.database(name))
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    async def refused(self, work: Any, *codes: str) -> None:
        """Expect a refusal, and keep what was said."""
        with pytest.raises(ApiProblem) as caught:
            await work
        self.errors.append(json.dumps(caught.value.problem, ensure_ascii=False).encode() + str(caught.value).encode())
        assert caught.value.code in codes, caught.value


@asynccontextmanager
async def watched(folder: Path, bus: str, proof: str, collector: Collector) -> AsyncIterator[Run]:
    """A watched installation with a mail server of its own, which tells `collector`; its output is there when it has ended."""
    box = Box()
    mail = Controller(box, hostname="127.0.0.1", port=free_port())
    mail.start()
    inside = f"127.0.0.1:{free_port()}"
    log = folder / "stderr.log"
    environment = {
        "SPEAN_SMTP": f"smtp://127.0.0.1:{mail.port}", "SPEAN_BUS": bus, "PYTHONPATH": str(ROOT),
        "SPEAN_OTLP": collector.url, "SPEAN_INSIDE": inside, "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "dev", "-m", "tests.security.watched", str(folder), proof,
            stdin=PIPE, stdout=PIPE, stderr=stderr, env=environment, cwd=folder,
        )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), 60) or log.read_bytes()[-2000:])
        settings = Settings(data=folder / "data", keys=folder / "keys", postgres=said["postgres"], bus=bus)
        cluster = AddressedCluster(said["postgres"])
        dsns = service_dsns(cluster, Roles.load(settings.keys), "referral")
        db = await Database.open(*dsns, api_size=1, worker_size=1)
        services: Any = {"referral": SimpleNamespace(db=db)}
        made = Installation(settings, cluster, None, services, said["url"], None)  # type: ignore[arg-type]
        run = Run(folder, made, settings, box, mail.port, collector, f"http://{inside}")
        try:
            yield run
        finally:
            await db.close()
        process.stdin.close()
        rest = await asyncio.wait_for(process.stdout.read(), 60)
        assert await process.wait() == 0, log.read_text()[-3000:]
        run.output = rest + log.read_bytes()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        mail.stop()


@asynccontextmanager
async def bus_of(run: Run) -> AsyncIterator[Bus]:
    """The bus of a watched installation."""
    bus = await connect(run.settings.bus or run.database(BUS_DATABASE))
    try:
        yield bus
    finally:
        await bus.close()
