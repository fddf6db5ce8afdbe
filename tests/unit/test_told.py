"""What the command line says where a request fails."""

from __future__ import annotations

import ssl

import httpx

from services.cli import told


def failed(cause: Exception) -> httpx.ConnectError:
    """As a client raises it, with what it came from."""
    problem = httpx.ConnectError("failed", request=httpx.Request("GET", "https://sister.example.net/intake"))
    problem.__cause__ = cause
    return problem


def test_a_certificate_that_is_not_trusted_is_no_silence() -> None:
    refused = told.sentence(failed(ssl.SSLCertVerificationError("self-signed")))
    assert refused == (
        "https://sister.example.net shows a certificate that this machine does not trust: name who signed it in SSL_CERT_FILE"
    )
    assert "nothing answers at https://sister.example.net" in told.sentence(failed(OSError("refused")))
