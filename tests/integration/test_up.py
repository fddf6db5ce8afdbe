"""`spean up` as a real process: start, stop, kill, carry on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli import bootstrap, installation, sample_network
from services.cli.client import ApiProblem, Partner, load_key
from services.cli.sample import kept
from spean.crypto import private_file
from spean.idempotency import KEPT_HOURS
from spean.settings import Settings
from tests.builders import eventually, world
from tests.commands import START_S, Place, Up, place_in, up


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    async with place_in(workspace) as made:
        yield made


async def organisations(running: Up, settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await running.get("/referral/organisations", settings))["organisations"]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_stops_cleanly_when_told(place: Place, number: signal.Signals) -> None:
    async with up(place) as running:
        assert (await httpx.AsyncClient(timeout=15).get(f"{running.url}/health")).text == "ok\n"
        assert bootstrap.address(place.settings) == running.url
        assert str(place.settings.data) in running.said
        assert str(place.settings.keys) in running.said
        assert place.postmaster is not None
        assert await running.end(number) == 0
    assert place.postmaster is None
    assert not bootstrap.address_file(place.settings).exists()


async def test_told_to_stop_while_it_starts_it_leaves_no_database_behind(place: Place) -> None:
    process = await place.spawn("up")

    async def database_begins() -> bool:
        return place.postmaster is not None or process.returncode is not None

    await eventually(database_begins)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(START_S):
        said, _ = await process.communicate()
    assert process.returncode == 0, said
    assert place.postmaster is None


async def test_the_sample_network_is_loaded_once_even_if_the_first_start_dies_half_way(place: Place) -> None:
    """Killed in the middle of loading; the next start completes it; the one after has nothing to do."""
    process = await place.spawn("up", SPEAN_SAMPLE="1")
    clients = place.settings.keys / "clients"

    async def half_loaded() -> bool:
        return len(list(clients.glob("sample-*.jwk"))) > len(sample_network.ORGANISATIONS) // 2

    await eventually(half_loaded, within_s=START_S)
    process.kill()
    await process.communicate()
    assert kept(place.settings) is None, "it was killed too late to prove anything"
    assert place.postmaster is not None

    async with up(place, SPEAN_SAMPLE="1") as running:
        found = await organisations(running, place.settings)
        assert Counter(one["name"] for one in found if one["sample"]) == Counter(
            f"{known.name} (sample)" for known in sample_network.ORGANISATIONS
        )
        assert len(found) == len(sample_network.ORGANISATIONS) + 1
        assert {one["country"] for one in found if one["sample"]} == {"KH", "LA", "VN", "TH", "MM", "CN"}
        rules = {
            kind: (await running.get(f"/intake/rules/{kind}", place.settings))["rules"]
            for kind in ("need-to-know", "agreements", "corridors")
        }
        assert (
            Counter((rule["service_group"], rule["stage"]) for rule in rules["need-to-know"]).most_common(1)[0][1] == 1
        )
        assert len(rules["need-to-know"]) == 3 * len(sample_network.PACKET)
        between = Counter((rule["sender"], rule["recipient"]) for rule in rules["agreements"])
        assert between
        assert max(between.values()) == 1
        assert len(rules["corridors"]) == 2 * len(sample_network.CORRIDORS)
        assert all("sample" in rule["legal_basis"].lower() for rule in rules["corridors"])
        made = kept(place.settings)
        assert made is not None
        for known in sample_network.ORGANISATIONS:
            one = made.organisations[known.key]
            file = bootstrap.key_file(place.settings, one.client)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert one.places.keys() == {pool.key for pool in known.pools}
        await sample_house_reads_its_places(running, place.settings)
        assert await running.end(signal.SIGINT) == 0

    async with up(place, SPEAN_SAMPLE="1") as again:
        assert again.seconds < 5
        assert await organisations(again, place.settings) == found
        assert kept(place.settings) == made


async def sample_house_reads_its_places(running: Up, settings: Settings) -> None:
    """A sample organisation's system signs in with the key that was left for it."""
    made = kept(settings)
    assert made is not None
    house = made.organisations["th-orchid"]
    async with Partner(running.url, house.client, load_key(bootstrap.key_file(settings, house.client))) as partner:
        shown = (await partner.get("/referral/places"))["places"]
    assert {place["id"] for place in shown} == {str(id_) for id_ in house.places.values()}


async def test_an_empty_start_holds_only_its_operator(place: Place) -> None:
    async with up(place) as running:
        found = await organisations(running, place.settings)
        assert [(one["name"], one["sample"]) for one in found] == [("Operator of this installation", False)]
        assert "sample   none" in running.said


async def test_killed_it_loses_nothing_and_the_next_start_takes_over_the_database(place: Place) -> None:
    async with up(place) as running:
        async with Partner(running.url, bootstrap.CLIENT, load_key(bootstrap.key_file(place.settings))) as admin:
            body = {"name": "Kept", "type": "ngo", "country": "KH"}
            made = await admin.post("/referral/organisations", body)
        assert await running.end(signal.SIGKILL) == -signal.SIGKILL
    left = place.postmaster
    assert left is not None
    async with up(place) as again:
        assert place.postmaster == left
        assert made["id"] in {one["id"] for one in await organisations(again, place.settings)}
        assert await again.end(signal.SIGINT) == 0
    assert place.postmaster is None


async def test_a_killed_database_is_started_again_and_the_work_goes_on(place: Place) -> None:
    """Requests, relays, consumers and clocks: a whole hand-off after the postmaster was killed under them. Durable: what
    was answered before must be there after."""
    settings = Settings(data=place.folder / "data", keys=place.folder / "keys", port=0)
    async with world(settings) as made:
        house = await made.house("House one")
        entry = await made.ready_person()
        before = place.postmaster
        assert before is not None
        os.kill(before, signal.SIGKILL)

        refused: set[int] = set()

        async def answers_again() -> bool:
            try:
                await house.partner.get("/referral/places")
            except ApiProblem as problem:
                refused.add(problem.status)
                return False
            return place.postmaster not in {None, before}

        await eventually(answers_again, within_s=30)
        assert refused <= {503}
        handoff = await made.handoff(entry)
        offer = await made.offer(house, within_s=30)
        await house.partner.post(f"/referral/offers/{offer['id']}/accept")
        assert (await made.state(handoff, "ready", within_s=30))["hand_over_code"]


async def test_a_taken_port_becomes_the_next_free_one(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with up(place, SPEAN_PORT=str(port)) as running:
            assert httpx.URL(running.url).port != port
            assert f"port {port} was taken" in running.said


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"SPEAN_BUS": "kafka://127.0.0.1:1"}, "kafka"),
        ({"SPEAN_POSTGRES": "postgresql://someone:secret-word@127.0.0.1:1/x"}, "PostgreSQL does not answer"),
        ({"SPEAN_HOST": "203.0.113.9"}, "SPEAN_CERTIFICATE"),
        ({"SPEAN_HOST": "203.0.113.9", "SPEAN_URL": "https://spean.example.org"}, "cannot listen on 203.0.113.9"),
        ({"SPEAN_HOLDERS": "secret-word"}, "SPEAN_HOLDERS must be JSON"),
    ],
)  # fmt: skip
async def test_a_wrong_setting_ends_with_one_sentence(place: Place, setting: dict[str, str], told: str) -> None:
    code, said = await place.run("up", **setting)
    assert code == 1
    assert told in said
    assert "Traceback" not in said
    assert "secret-word" not in said
    assert place.postmaster is None


async def test_keys_of_another_installation_open_nothing(place: Place) -> None:
    async with up(place) as running:
        await running.end(signal.SIGINT)
    bootstrap.key_file(place.settings).unlink()
    code, said = await place.run("up")
    assert code == 1
    assert "belong to another installation" in said
    assert place.postmaster is None


def test_an_accepted_connection_sends_at_once() -> None:
    """asyncio turns the kernel's waiting off only where the listener names its protocol; else each answer waits 40 ms."""
    with installation.listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_a_load_begun_too_long_ago_is_not_taken_up_again(place: Place) -> None:
    """The services have forgotten the first commands by then: made again they would make everything twice."""
    async with up(place) as running:
        operator = (await organisations(running, place.settings))[0]["id"]
        await running.end(signal.SIGINT)
    begun = place.settings.keys / f"sample-begun-{operator}"
    private_file(begun, str(time.time() - KEPT_HOURS * 3600).encode())
    code, said = await place.run("up", SPEAN_SAMPLE="1")
    assert code == 1
    assert "never finished" in said
    assert not list((place.settings.keys / "clients").glob("sample-*"))
