"""Another certificate while the server runs, on a real socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from services.cli.certificate import renewed
from tests.bus.authority import Authority


@dataclass
class Shown:
    """A server with the certificate in two files; `port`: where."""

    certificate: Path
    key: Path
    authority: Authority
    port: int = 0

    async def name(self) -> str:
        """Whom the certificate that a new connection is shown is for. By address: nothing is said of a name."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        shown = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        return str(shown.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)

    def put(self, name: str) -> tuple[bytes, bytes]:
        """What is to lie in both files."""
        certificate, key = self.authority.signed(name)
        return certificate.read_bytes(), key.read_bytes()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Shown]:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.signed("first")
    found = Shown(certificate, key, authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    renewed(context, certificate, key)
    made = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with made:
        found.port = made.sockets[0].getsockname()[1]
        yield found


async def test_a_renewed_certificate_is_shown_without_a_start(server: Shown) -> None:
    assert [await server.name() for _ in range(2)] == ["first", "first"]
    certificate, key = server.put("second")
    server.certificate.write_bytes(certificate)
    assert [await server.name() for _ in range(2)] == ["first", "first"], "half of it is there"
    server.key.write_bytes(key)
    assert [await server.name() for _ in range(2)] == ["first", "second"]


async def test_what_is_no_certificate_changes_nothing(server: Shown) -> None:
    for content in (b"", b"no certificate", server.put("other")[0]):
        server.certificate.write_bytes(content)
        assert [await server.name() for _ in range(2)] == ["first", "first"]
    server.certificate.unlink()
    assert await server.name() == "first"
