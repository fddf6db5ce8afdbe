"""A Kafka that speaks TLS alone and knows accounts, and who signs the certificates for it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.kafka import local
from tests.conftest import without_kafka

# Of every account.
PASSWORD = "canarypassword5f1c"
ACCOUNTS = ("spean-referral", "spean-notify", "spean-intake-main", "spean-intake-other", "stranger")


class Authority:
    """Signs certificates. `file`: its own, as PEM."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(name, self._key.public_key(), timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, name: str, key: Any, lives: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self._name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + lives)
        )

    def signed(self, name: str, address: str = "127.0.0.1", lives: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
        """Files with a certificate for `address`, and with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address))])
        made = self._builder(name, key.public_key(), lives).add_extension(names, critical=False)
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def account(self, name: str) -> dict[str, str | Path]:
        """The settings of who signs in under this name, with a certificate of its own and the password of every account."""
        certificate, key = self.signed(name)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        return {
            "kafka_ca": self.file, "kafka_certificate": certificate, "kafka_key": key, "kafka_user": name,
            "kafka_password_file": password, "kafka_mechanism": "PLAIN" if name == "spean" else "SCRAM-SHA-512",
        }  # fmt: skip


@asynccontextmanager
async def secured_kafka(accounts: Mapping[str, str]) -> AsyncIterator[tuple[local.LocalKafka, Authority]]:
    """A broker that `spean` signs in to by PLAIN and administers, and `accounts` by SCRAM."""
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    with tempfile.TemporaryDirectory(prefix="spean-kafka-") as name:
        folder = Path(name)
        authority = Authority(folder, "authority")
        certificate, key = authority.signed("broker")
        chain = folder / "chain.pem"
        chain.write_bytes(key.read_bytes() + certificate.read_bytes())
        secure = local.Secure(chain, authority.file, "spean", PASSWORD, accounts)
        kafka = await local.start(folder / "kafka", 1, secure)
        yield kafka, authority
        await kafka.stop()
