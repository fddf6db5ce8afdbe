"""How the brokers are reached: in the clear, or over TLS, with a certificate or a name of ours; and why it fails.

aiokafka tells of a certificate that nobody trusts, and of a password that is wrong, as of a broker that is not there; so
when none answers, one connection is tried whose error is looked at.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import errors
from aiokafka.conn import create_conn
from cryptography import x509

from spean.bus import BusError
from spean.bus.kafka_client import CONNECT_MS, servers_of
from spean.settings import Settings

_CHECK = "check SPEAN_KAFKA_CA, SPEAN_KAFKA_CERTIFICATE and SPEAN_KAFKA_KEY"


@dataclass(frozen=True, slots=True)
class Access:
    """`servers`: host:port, with commas between; `options`: what every client of aiokafka takes, passwords among it."""

    servers: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def access_of(address: str, settings: Settings | None) -> Access:
    """Raises BusError for another form of address, and for files that cannot be used, naming the variable."""
    servers = servers_of(address)
    if settings is None or not (settings.kafka_ca or settings.kafka_certificate or settings.kafka_user):
        return Access(servers)
    options: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": _context(settings)}
    if settings.kafka_user:
        options |= {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": settings.kafka_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": _password(settings.kafka_password_file),
        }
    return Access(servers, options)


def _context(settings: Settings) -> ssl.SSLContext:
    """Checks the brokers' certificates and names, against `kafka_ca` alone where it is set."""
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca)
    except OSError as error:  # ssl.SSLError is one
        raise BusError(f"SPEAN_KAFKA_CA cannot be used: {_class(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.kafka_certificate is not None:
        try:
            context.load_cert_chain(settings.kafka_certificate, settings.kafka_key)
            ends = x509.load_pem_x509_certificate(settings.kafka_certificate.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            raise BusError(f"SPEAN_KAFKA_CERTIFICATE with SPEAN_KAFKA_KEY cannot be used: {_class(error)}") from None
        if ends <= datetime.now(UTC):
            raise BusError(f"SPEAN_KAFKA_CERTIFICATE has expired, at {ends:%Y-%m-%d %H:%M} UTC: renew it")
    return context


def _password(file: Path | None) -> str:
    try:
        found = "" if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise BusError(f"SPEAN_KAFKA_PASSWORD_FILE cannot be read: {_class(error)}") from None
    if not found:
        raise BusError("SPEAN_KAFKA_PASSWORD_FILE holds no password")
    return found


async def why_refused(access: Access) -> BusError | None:
    """What one of the brokers has against us or we against it; None where they only do not answer."""
    told = await asyncio.gather(*(_why_refused(server, access) for server in access.servers.split(",")))
    return next((one for one in told if one is not None), None)


async def _why_refused(server: str, access: Access) -> BusError | None:
    host, _, port = server.rpartition(":")
    if not access.options:
        return await _why_not_in_the_clear(server, host.strip("[]"), int(port))
    try:
        conn = await create_conn(
            host.strip("[]"), int(port), client_id="spean", request_timeout_ms=CONNECT_MS, **access.options
        )
    except ssl.SSLCertVerificationError as error:
        return BusError(f"the certificate of Kafka at {server} is not to be trusted ({error.verify_message}); {_CHECK}")
    except ssl.SSLError as error:
        return BusError(f"no TLS with Kafka at {server} ({_class(error)}); {_CHECK}")
    except (errors.SaslAuthenticationFailed, errors.AuthenticationFailedError):
        return BusError(f"Kafka at {server} refuses the sign-in: check SPEAN_KAFKA_USER and SPEAN_KAFKA_PASSWORD_FILE")
    except errors.UnsupportedSaslMechanismError:
        return BusError(f"Kafka at {server} does not take that way to sign in: check SPEAN_KAFKA_MECHANISM")
    except (TimeoutError, errors.RequestTimedOutError):
        return None
    except (errors.KafkaError, OSError):
        if (alert := await _alert(host.strip("[]"), int(port), access)) is not None:
            return BusError(f"no TLS with Kafka at {server} ({_class(alert)}); {_CHECK}")
        return None
    conn.close()
    return None


async def _why_not_in_the_clear(server: str, host: str, port: int) -> BusError | None:
    """Nothing is told to whoever is there, so it does not matter who it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_MS / 1000):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):  # ssl.SSLError is one
        return None
    writer.close()
    return BusError(f"Kafka at {server} speaks TLS: set SPEAN_KAFKA_CA (docs/kafka.md)")


async def _alert(host: str, port: int, access: Access) -> ssl.SSLError | None:
    """What a broker says once it has looked at our certificate: after the handshake, so that aiokafka only sees the end of
    the connection."""
    if "ssl_context" not in access.options:
        return None
    try:
        async with asyncio.timeout(CONNECT_MS / 1000):
            reader, writer = await asyncio.open_connection(host, port, ssl=access.options["ssl_context"])
            try:
                await reader.read(1)
            finally:
                writer.close()
    except ssl.SSLError as error:
        return error
    except (OSError, TimeoutError):
        return None
    return None


def _class(error: Exception) -> str:
    """What OpenSSL or the system calls it; neither says anything of the content."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
