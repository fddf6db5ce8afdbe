"""A network with the holder of one country in this process, and the holder of another country in a process and a PostgreSQL of
its own: that one can be killed, and put back from a backup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg

from services.cli import backup, installation, restore
from services.cli.installation import BUS_DATABASE, Installation
from spean import embedded
from spean.provision import Roles, service_dsns
from spean.settings import Settings
from tests.builders import eventually
from tests.faults.cluster import free_port
from tests.faults.two_holders import Grounds, Operator
from tests.integration.lived import settings_in
from tests.integration.mailbox import AnyPort, Mailbox

# The clocks run months ahead: the log, which is kept for days, is kept all the same.
_KEEP_THE_LOG = """
create function keep_all() returns trigger language plpgsql as $$ begin new.retention_days := 10000; return new; end $$;
create trigger keep_all before insert or update on topic for each row execute function keep_all();
update topic set retention_days = 10000;
"""
HERE, THERE = "a", "b"
COUNTRY = {HERE: "KH", THERE: "TH"}


@dataclass
class Lands:
    """`made` runs here. `grounds` has the other holder's process; its clock and that of the holder here go together."""

    made: Installation
    grounds: Grounds
    mailbox: Mailbox

    def now(self) -> datetime:
        return datetime.now(UTC) + self.grounds.ahead

    def address(self, holder: str) -> str:
        return self.grounds.operators[holder].intake if holder == THERE else f"{self.made.url}/intake"

    def dsn(self, holder: str) -> str:
        """Of the holder's database, for the account that owns the cluster."""
        made = self.grounds.operators[holder].made if holder == THERE else self.made
        return made.cluster.dsn("intake")

    async def pass_hours(self, hours: int) -> None:
        await self.grounds.pass_time(60 * hours)
        self.made.services["intake"].db.shift = self.grounds.ahead

    async def cut_off(self, holder: str, *databases: str) -> int:
        """Every session of these databases' workers ends wherever it is. Returns how many."""
        conn = await asyncpg.connect(self.dsn(holder))
        try:
            cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename like '%worker%' and datname = any($1)"
            return int(await conn.fetchval(cut, list(databases)))
        finally:
            await conn.close()

    async def kill(self) -> None:
        await self.grounds.kill(THERE)

    async def start(self) -> None:
        await self.grounds.spawn(THERE)

    async def back_up(self) -> Path:
        folder = self.grounds.folder / f"backup-{uuid4().hex[:6]}"
        await backup.save(self.grounds.operators[THERE].made.settings, folder, "data")
        return folder

    async def put_back(self, folder: Path) -> int:
        """What the other holder has said since then it takes over from the log. Returns how many events that was."""
        settings = self.grounds.operators[THERE].made.settings
        await self.kill()
        await eventually(self._nobody_works)
        found = await asyncio.to_thread(backup.read, folder, "data")
        kept, taken = await restore.put_back(settings, folder, found, ["intake"])
        await self.start()
        conn = await asyncpg.connect(self.dsn(THERE))
        try:
            await conn.execute(f'drop database "{kept["intake"]}" with (force)')
        finally:
            await conn.close()
        return len(taken["intake"].events)

    async def _nobody_works(self) -> bool:
        """Sessions of a killed process end a moment later."""
        conn = await asyncpg.connect(self.dsn(THERE))
        try:
            others = "select count(*) from pg_stat_activity where datname = 'intake' and pid <> pg_backend_pid() and backend_type = 'client backend'"
            return not await conn.fetchval(others)
        finally:
            await conn.close()


async def _other(stack: AsyncExitStack, folder: Path, settings: Settings) -> Operator:
    """Its PostgreSQL runs and its database is made; nothing else of it runs yet."""
    running = await embedded.start(folder / "pg", password_file=folder / "keys" / "postgres", fast_unsafe=True)
    stack.push_async_callback(running.stop)
    own = {"data": folder / "data", "keys": folder / "keys", "postgres": running.server.dsn("postgres"), "port": 0,
           "holder": THERE, "country": COUNTRY[THERE]}  # fmt: skip
    async with installation.installed(settings.model_copy(update=own), ("intake",), listening=False) as made:
        return Operator(made, running, settings.holders[THERE])


async def _keep_the_log(made: Installation) -> None:
    conn = await asyncpg.connect(made.cluster.dsn(BUS_DATABASE))
    try:
        await conn.execute(_KEEP_THE_LOG)
    finally:
        await conn.close()


@asynccontextmanager
async def two_lands(folder: Path) -> AsyncIterator[Lands]:
    """Everything runs, and every mail goes to a mailbox."""
    await asyncio.to_thread((folder / THERE).mkdir, 0o755, parents=True)
    await asyncio.to_thread(folder.chmod, 0o755)
    mailbox, port = Mailbox(), free_port()
    controller = AnyPort(mailbox, hostname="127.0.0.1", port=0)
    controller.start()
    url = f"http://127.0.0.1:{port}"
    mailbox.server = f"smtp://127.0.0.1:{controller.port}"
    holders = {HERE: f"{url}/intake", THERE: f"http://127.0.0.1:{free_port()}/intake"}
    chosen = {"port": port, "url": url, "smtp": mailbox.server, "holder": HERE, "holders": holders}
    settings = settings_in(folder / "network").model_copy(update=chosen)
    try:
        async with AsyncExitStack() as stack:
            made = await stack.enter_async_context(installation.installed(settings))
            await _keep_the_log(made)
            bus = service_dsns(made.cluster, Roles.load(settings.keys), BUS_DATABASE)[1]
            other = await _other(stack, folder / THERE, settings.model_copy(update={"bus": bus, "smtp": ""}))
            grounds = Grounds(folder, {THERE: other})
            await stack.enter_async_context(installation.running(made))
            stack.push_async_callback(grounds.stop)
            await grounds.spawn(THERE)
            yield Lands(made, grounds, mailbox)
    finally:
        await asyncio.to_thread(controller.stop)
