"""The certificate that browsers see may be renewed while the server runs: each new connection looks whether the files are
others."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from spean.turning import mark

log = logging.getLogger(__name__)


def renewed(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Let this context show what lies in these files (PEM) from the connection on that follows a change. Files that cannot be
    used, or do not belong together (yet), change nothing."""
    shown = mark(certificate), mark(key)

    def look(_: ssl.SSLObject, __: str | None, ___: ssl.SSLContext) -> None:
        nonlocal shown
        try:
            lying = mark(certificate), mark(key)
            if lying != shown:
                # Tried apart from what is in use: half of a pair would leave that without any.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
                context.load_cert_chain(certificate, key)
                shown = lying
                log.warning("another certificate is shown from now on")
        except OSError as error:  # also every fault of a certificate: ssl.SSLError is one
            log.warning("the new certificate cannot be used", extra={"error_class": type(error).__name__})

    context.sni_callback = look


def expired(certificate: Path) -> datetime | None:
    """When the certificate (PEM, the first of its chain) came to its end; None while it lasts. Raises OSError."""
    try:
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except ValueError:  # in a form that OpenSSL takes and this reader does not
        return None
    return ends if ends <= datetime.now(UTC) else None
