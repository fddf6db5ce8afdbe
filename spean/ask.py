"""Questions to a holder: signed, at most 2 seconds, never inside a transaction.

The address comes from the registry of holders, never from an event or a `dataref`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from typing import TypeVar

import httpx
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ValidationError

from spean import auth, telemetry
from spean.auth import Signer

log = logging.getLogger(__name__)
LIMIT_S = 2.0
# The rest of its minute is for the way, and for clocks that differ.
SHOWN_AGAIN_S = 20.0
# Questions to one holder at once: each holder has its own, so that one that never answers takes none of another's.
AT_ONCE = 50
# A holder that stays silent is a line in the log this often, and one more where the reason is another one.
_SAID_AGAIN_S = 60.0
A = TypeVar("A", bound=BaseModel)


def certificate_refused(error: BaseException | None) -> bool:
    """Did a request fail because the other side's certificate is not trusted here?"""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


class HolderSilent(Exception):
    """No usable answer within the limit. Nothing may be disclosed or concluded from it."""


class Holders:
    """The registry of holders (name → address) and, for each, a connection pool for asking it."""

    def __init__(self, addresses: Mapping[str, str], signer: Signer) -> None:
        self._addresses, self._signer = addresses, signer
        # Holder → a signature, and until when it is shown again.
        self._signed: dict[str, tuple[str, float]] = {}
        # Holder → why it was silent, as the log has it last, and when.
        self._said: dict[str, tuple[str, float]] = {}
        limits, context = httpx.Limits(max_connections=AT_ONCE), httpx.create_ssl_context()
        self._clients = {name: httpx.AsyncClient(timeout=LIMIT_S, limits=limits, verify=context) for name in addresses}

    @property
    def names(self) -> list[str]:
        """Every holder that is registered."""
        return sorted(self._addresses)

    def address(self, holder: str) -> str:
        """Raises HolderSilent for a holder that is not registered."""
        try:
            return self._addresses[holder]
        except KeyError:
            raise HolderSilent from None

    async def ask(self, holder: str, path: str, question: BaseModel, answer: type[A]) -> A:
        """Raises HolderSilent for anything but a well-formed answer in time."""
        url = f"{self.address(holder)}/questions/{path}"
        try:
            with telemetry.step(f"ask {path}", SpanKind.CLIENT, holder=holder):
                token = self._token(holder)
                # The client's own limit is for each step of a request: an answer that drips would never reach it.
                async with asyncio.timeout(LIMIT_S):
                    reply = await self._clients[holder].post(
                        url,
                        content=question.model_dump_json(),
                        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                    )
                reply.raise_for_status()
            return answer.model_validate_json(reply.content, extra="ignore")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValidationError) as error:
            telemetry.add("spean.questions.unanswered", holder=holder)
            self._say(holder, "certificate" if certificate_refused(error) else type(error).__name__)
            raise HolderSilent from None

    def _say(self, holder: str, reason: str) -> None:
        """`certificate`: its own is not trusted here, or not valid (any more); else the class of what went wrong. Never what
        it has said."""
        now, (before, at) = time.monotonic(), self._said.get(holder, ("", 0.0))
        if reason != before or now - at > _SAID_AGAIN_S:
            self._said[holder] = reason, now
            log.warning("a holder does not answer", extra={"holder": holder, "reason": reason})

    def _token(self, holder: str) -> str:
        """That it is the network who asks this holder, now. Says nothing of the question, so one does for the questions of
        some seconds; within a trace it names the trace, and is made for each."""
        within = telemetry.carried(telemetry.traceparent())
        if within:
            return self._sign(holder, {"traceparent": within})
        token, until = self._signed.get(holder, ("", 0.0))
        now = time.time()
        if not 0 < until - now <= SHOWN_AGAIN_S:  # also where the clock was put, either way
            token = self._sign(holder, {})
            self._signed[holder] = token, now + SHOWN_AGAIN_S
        return token

    def _sign(self, holder: str, more: Mapping[str, str]) -> str:
        claims = {"scope": "question", "sub": "referral", **more}
        return self._signer.sign(auth.Kind.QUESTION, f"holder:{holder}", auth.QUESTION_TOKEN_S, claims)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
