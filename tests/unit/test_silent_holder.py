"""A holder that does not answer: the log says whether it was its certificate, and nothing that it has said; doctor looks, too."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from schemas import questions as q
from services.cli.doctor import _others
from spean.ask import Holders, HolderSilent
from spean.auth import Signer
from spean.crypto import new_signing_key
from spean.settings import Settings
from tests.bus.authority import Authority

CANARY = "canary8d1e"
ANSWER = f"HTTP/1.1 500 {CANARY}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[tuple[int, int]]:
    """One that shows a certificate of an authority that nobody trusts; and one that answers with a fault."""

    async def fault(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path, "nobodys").signed(CANARY))
    untrusted = await asyncio.start_server(fault, "127.0.0.1", 0, ssl=context)
    faulty = await asyncio.start_server(fault, "127.0.0.1", 0)
    async with untrusted, faulty:
        yield untrusted.sockets[0].getsockname()[1], faulty.sockets[0].getsockname()[1]


async def test_the_log_says_whether_it_was_the_certificate(
    ports: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    addresses = {"untrusted": f"https://127.0.0.1:{ports[0]}", "faulty": f"http://127.0.0.1:{ports[1]}"}
    holders = Holders(addresses, Signer(new_signing_key(), "https://issuer.example"))
    question = q.NextCandidateQuestion(referral=uuid4(), candidates=())
    caplog.set_level(logging.WARNING, "spean.ask")
    for name in ("untrusted", "untrusted", "faulty", "faulty"):
        with pytest.raises(HolderSilent):
            await holders.ask(name, "next-candidate", question, q.NextCandidateAnswer)
    await holders.close()
    said = [(vars(one)["holder"], vars(one)["reason"]) for one in caplog.records if one.name == "spean.ask"]
    assert said == [("untrusted", "certificate"), ("faulty", "HTTPStatusError")], "each once a minute"
    assert CANARY not in caplog.text


async def test_doctor_looks_at_the_other_holders(ports: tuple[int, int]) -> None:
    known = {"main": "http://127.0.0.1:9", "untrusted": f"https://127.0.0.1:{ports[0]}", "faulty": f"http://127.0.0.1:{ports[1]}",
             "away": "http://127.0.0.1:9"}  # fmt: skip
    found = {one.found.partition(":")[0]: one for one in await _others(Settings(holder="main", holders=known))}
    assert {name: one.level for name, one in found.items()} == dict.fromkeys(("untrusted", "faulty", "away"), "warn")
    assert "certificate that this machine does not trust" in found["untrusted"].found
    assert "does not answer" in found["away"].found
    assert await _others(Settings()) == []
