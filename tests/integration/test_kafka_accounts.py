"""Services in processes of their own on a Kafka that knows accounts: they start only on what has been applied, and then
carry the main line, each with no more rights than its own."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from deploy.ports import free_port
from spean.embedded import Server
from tests.bus.authority import ACCOUNTS, PASSWORD, Authority, secured_kafka
from tests.commands import START_S, Place, place_in, ready
from tests.integration.test_operator import shared, whole_line  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(420)]

SERVICES = {"referral": "spean-referral", "intake": "spean-intake-main", "notify": "spean-notify"}


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    async with place_in(workspace) as made:
        yield made


def signs_in(authority: Authority, name: str) -> dict[str, str]:
    """What an account needs in the environment."""
    return {f"SPEAN_{setting.upper()}": str(value) for setting, value in authority.account(name).items()}


async def refused(place: Place, word: str, *command: str, **more: str) -> None:
    """Ends at once with one sentence that names this, and nothing of it runs on."""
    code, said = await place.run(*command, **more)
    assert code == 1, said
    assert word in said
    assert "spean topics apply mends it" in said
    assert len(said.strip().splitlines()) == 1, said
    assert PASSWORD not in said


async def test_each_with_its_own_account_they_carry_the_main_line(place: Place, shared: Server) -> None:  # noqa: F811
    async with secured_kafka(dict.fromkeys(ACCOUNTS, PASSWORD)) as (kafka, authority):
        place.folder.mkdir(exist_ok=True)
        ports = {"referral": free_port(), "intake": free_port(), "notify": free_port()}
        place.more = {
            "SPEAN_POSTGRES": shared.dsn("postgres"), "SPEAN_URL": f"http://127.0.0.1:{ports['referral']}",
            "SPEAN_HOLDERS": json.dumps({"main": f"http://127.0.0.1:{ports['intake']}/intake"}), "SPEAN_BUS": kafka.address,
        }  # fmt: skip
        accounts = {name: signs_in(authority, account) for name, account in SERVICES.items()}
        admin = signs_in(authority, "spean")
        code, said = await place.run("migrate", **admin)
        assert code == 0, said
        # Everything is made; nobody is permitted anything yet.
        await refused(
            place, "this account may not see topic spean.referral", "serve", "--service", "intake", **accounts["intake"]
        )
        code, said = await place.run("topics", "apply", **admin)
        assert code == 0, said
        # With another service's account, and with a holder that nobody made a topic for.
        await refused(
            place, "may not write topic spean.referral", "serve", "--service", "referral", **accounts["notify"]
        )
        more = {"SPEAN_HOLDERS": '{"main": "http://127.0.0.1:1/intake", "third": "http://127.0.0.1:1/intake"}'}
        await refused(
            place, "topic spean.handoff.third", "serve", "--service", "referral", **accounts["referral"], **more
        )

        parts = urlsplit(shared.dsn("postgres"))
        place.more["SPEAN_POSTGRES"] = urlunsplit(parts._replace(netloc=""))
        processes = [
            await place.spawn("serve", "--service", name, SPEAN_PORT=str(ports[name]), **accounts[name])
            for name in SERVICES
        ]
        try:
            for process in processes:
                await ready(process, "serving ")
            await whole_line(place, ports)
            for process in processes:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(START_S):
                ended = await asyncio.gather(*(process.communicate() for process in processes))
            assert [process.returncode for process in processes] == [0, 0, 0]
            assert not any(b"lacks a right" in said for said, _ in ended)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.communicate()
