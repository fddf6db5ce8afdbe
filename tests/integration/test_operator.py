"""The operator's other commands as real processes: clean, doctor, serve and migrate, and HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.ports import free_port
from services.cli import bootstrap
from services.cli.client import ApiProblem, Partner, load_key
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS
from spean import embedded
from spean.embedded import Server
from tests.builders import CATEGORIES, PURPOSES, eventually, organisation
from tests.commands import START_S, Place, place_in, ready, up


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    async with place_in(workspace) as made:
        yield made


@pytest.mark.long
async def test_clean_asks_refuses_and_leaves_what_is_not_ours(place: Place) -> None:
    async with up(place) as running:
        code, said = await place.run("clean", "--yes")
        assert code == 1
        assert "stop that first" in said
        await running.end(signal.SIGKILL)
    foreign = place.settings.keys / "mine.txt"
    foreign.write_text("not Spean's")
    code, said = await place.run("clean", typed="no\n")
    assert code == 1
    assert "Nothing has been deleted" in said
    assert bootstrap.key_file(place.settings).exists()
    code, said = await place.run("clean", typed="data\n")
    assert code == 0, said
    assert not place.settings.data.exists()
    assert [path.name for path in place.settings.keys.iterdir()] == ["mine.txt"]
    assert "mine.txt" in said


async def test_doctor_says_what_is_wrong_and_what_to_do(place: Place) -> None:
    code, said = await place.run("doctor", "--json")
    fresh = {one["check"]: one for one in map(json.loads, said.splitlines())}
    assert code == 0, said
    assert {one["level"] for one in fresh.values()} == {"ok"}
    assert fresh["postgresql"]["found"] == "embedded, starts and stops"
    assert not place.folder.exists()
    async with up(place) as running:
        code, said = await place.run("doctor")
        assert code == 0, said
        assert running.url in said
        await running.end(signal.SIGINT)
    bootstrap.key_file(place.settings).chmod(0o644)
    (place.settings.keys / "database-roles").unlink()
    more = {"SPEAN_BUS": "kafka://127.0.0.1:1", "SPEAN_SAY_AS": "referral.held.v1"}
    code, said = await place.run("doctor", "--json", **more)
    found = [json.loads(line) for line in said.splitlines()]
    wrong = {one["check"]: one["do"] for one in found if one["level"] == "wrong"}
    assert code == 1
    (versions,) = (one for one in found if one["level"] == "warn")
    assert versions["found"] == "SPEAN_SAY_AS: referral.held.v1 is said instead of referral.held.v2"
    assert "until every process that reads it" in versions["do"]
    assert wrong.keys() == {"keys", "keys present", "bus"}
    assert wrong["keys"] == f"chmod -R go= {place.settings.keys}"


def certificate(folder: Path, ends: timedelta = timedelta(hours=1)) -> dict[str, str]:
    """Settings with a self-signed certificate for localhost, trusted by the process itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    cert = str(folder / "cert.pem")
    return {"SPEAN_CERTIFICATE": cert, "SPEAN_CERTIFICATE_KEY": str(folder / "key.pem"), "SSL_CERT_FILE": cert}


async def test_with_a_certificate_it_serves_https(place: Place, tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    async with up(place, SPEAN_HOST="localhost", **pair) as running:
        assert running.url.startswith("https://localhost:")
        context = ssl.create_default_context(cafile=pair["SPEAN_CERTIFICATE"])
        async with httpx.AsyncClient(verify=context, timeout=15) as client:
            assert (await client.get(f"{running.url}/health")).text == "ok\n"
        certificate(tmp_path)  # another, in the same files
        context = ssl.create_default_context(cafile=pair["SPEAN_CERTIFICATE"])

        async def shown() -> bool:
            async with httpx.AsyncClient(verify=context, timeout=15) as client:
                with contextlib.suppress(httpx.ConnectError):
                    return (await client.get(f"{running.url}/health")).text == "ok\n"
            return False

        await eventually(shown)
    code, said = await place.run("up", **{**pair, "SPEAN_CERTIFICATE_KEY": pair["SPEAN_CERTIFICATE"]})
    assert code == 1
    assert "SPEAN_CERTIFICATE" in said
    assert "Traceback" not in said
    code, said = await place.run("up", **certificate(tmp_path, timedelta(minutes=-1)))
    assert code == 1
    assert "SPEAN_CERTIFICATE has expired, at " in said


@pytest.fixture
async def shared(workspace: Path) -> AsyncIterator[Server]:
    """A PostgreSQL that several processes share."""
    folder = workspace / uuid4().hex[:8]
    running = await embedded.start(folder, password_file=workspace / f"{folder.name}-password", fast_unsafe=True)
    yield running.server
    await running.stop()


@pytest.mark.long
async def test_services_in_processes_of_their_own_carry_the_main_line(place: Place, shared: Server) -> None:
    """The network, the holder's requests and the holder's loops in three processes, as on three machines."""
    ports = {"referral": free_port(), "intake": free_port()}
    place.more = {
        "SPEAN_POSTGRES": shared.dsn("postgres"), "SPEAN_URL": f"http://127.0.0.1:{ports['referral']}",
        "SPEAN_HOLDERS": json.dumps({"main": f"http://127.0.0.1:{ports['intake']}/intake"}),
    }  # fmt: skip
    code, said = await place.run("serve", "--service", "intake")
    assert code == 1
    assert "Traceback" not in said
    for _ in range(2):
        code, said = await place.run("migrate")
        assert code == 0, said
    loops = [word for role in ("relay", "consume", "clock") for word in ("--role", role)]
    commands = (
        (["--service", "referral"], str(ports["referral"])),
        (["--service", "intake", "--role", "api"], str(ports["intake"])),
        # Without the API it takes no port, not even a free one: this one is taken.
        (["--service", "intake", *loops], str(ports["referral"])),
    )
    # No account in the address: each signs in as its own roles, which may do little.
    parts = urlsplit(shared.dsn("postgres"))
    place.more["SPEAN_POSTGRES"] = urlunsplit(parts._replace(netloc=""))
    assert shared.password not in place.more["SPEAN_POSTGRES"]
    processes = [await place.spawn("serve", *words, SPEAN_PORT=port) for words, port in commands]
    try:
        for process in processes:
            await ready(process, "serving ")
        await whole_line(place, ports)
        assert await signed_in(shared) == {"referral_api", "referral_worker", "intake_api", "intake_worker", "bus_worker",
                                           "keys_worker"}  # fmt: skip
        code, said = await place.run("doctor", "--json")
        (found,) = (one for one in map(json.loads, said.splitlines()) if one["check"] == "postgresql")
        assert (found["level"], found["do"]) == ("warn", "enough for spean serve, not for spean migrate")
        for process in processes:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_S):
            await asyncio.gather(*(process.communicate() for process in processes))
        assert [process.returncode for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def signed_in(shared: Server) -> set[str]:
    """The accounts that are connected now, but ours."""
    conn = await asyncpg.connect(shared.dsn("postgres"))
    try:
        rows = await conn.fetch(
            "select distinct usename, rolsuper from pg_stat_activity join pg_roles on rolname = usename "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
    finally:
        await conn.close()
    assert not any(row["rolsuper"] for row in rows)
    return {row["usename"] for row in rows}


async def whole_line(place: Place, ports: dict[str, int]) -> None:
    """From an entry at the holder to a packet in a house's hands."""
    network, holder = (f"http://127.0.0.1:{ports[name]}" for name in ("referral", "intake"))
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(
            Partner(network, bootstrap.CLIENT, load_key(bootstrap.key_file(place.settings)))
        )
        sender = await organisation(admin, stack, network, "Border post", "border_post", ["intake:send"])
        house = await organisation(admin, stack, network, "House", "shelter", ["referral:receive"])
        founded = {"name": "Split", "coordinator": sender.id, "sample": True}
        id_ = (await admin.post("/referral/networks", founded))["id"]
        await admin.post(f"/referral/networks/{id_}/members", {"organisation": house.id})
        pool = {
            "organisation": house.id,
            "network": id_,
            "service_types": ["emergency_bed"],
            "area": "KH-1",
            "usable": 1,
        }
        await admin.post("/referral/places", pool)
        rules = f"{holder}/intake/rules"
        for stage, fields in (("offer", OFFER_FIELDS), ("packet", PACKET_FIELDS)):
            await admin.post(f"{rules}/need-to-know", {"group": "shelter", "stage": stage, "fields": list(fields)})
        agreed = {"sender": sender.id, "recipient": house.id, "categories": CATEGORIES, "purposes": PURPOSES}
        await admin.post(f"{rules}/agreements", agreed)

        person = {"age_years": 30, "sex": "female", "name": "Test Person"}
        body = {"channel": "border_post", "area": "KH-1", "person": person}
        entry = (await sender.partner.post(f"{holder}/intake/entries", body))["id"]
        given = {"state": "given", "expressed": "spoken", "language": "khm", "notice": "1-khm"}
        shared = {"categories": CATEGORIES, "purposes": PURPOSES, "recipients": {"classes": [{"type": "shelter"}]}}
        for decision in ({"decision": "service"}, {"decision": "share_referral", **shared}):
            await sender.partner.post(f"{holder}/intake/entries/{entry}/consents", {**given, **decision})
        await sender.partner.post(f"{holder}/intake/entries/{entry}/case")
        asked = {
            "network": id_,
            "service_type": "emergency_bed",
            "urgency": "emergency",
            "area": "KH-1",
            "members": [entry],
        }
        await sender.partner.post(f"{holder}/intake/handoffs", asked)

        async def offered() -> Any:
            offers = (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
            return offers and offers[0]["id"]

        offer = await eventually(offered, within_s=30)
        await house.partner.post(f"/referral/offers/{offer}/accept")

        async def packet() -> Any:
            try:
                return await house.partner.packet(offer)
            except ApiProblem:  # not released yet
                return None

        assert (await eventually(packet, within_s=30))["members"][0]["name"] == "Test Person"
