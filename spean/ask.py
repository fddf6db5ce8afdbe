"""Questions to a holder: signed, at most 2 seconds, never inside a transaction.

The address comes from the registry of holders, never from an event or a `dataref`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import httpx
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ValidationError

from spean import auth, telemetry
from spean.auth import Signer

LIMIT_S = 2.0
# Questions to one holder at once: each holder has its own, so that one that never answers takes none of another's.
AT_ONCE = 50
A = TypeVar("A", bound=BaseModel)


class HolderSilent(Exception):
    """No usable answer within the limit. Nothing may be disclosed or concluded from it."""


class Holders:
    """The registry of holders (name → address) and, for each, a connection pool for asking it."""

    def __init__(self, addresses: Mapping[str, str], signer: Signer) -> None:
        self._addresses, self._signer = addresses, signer
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
                token = self._signer.sign(auth.Kind.QUESTION, f"holder:{holder}", auth.QUESTION_TOKEN_S, _claims())
                # The client's own limit is for each step of a request: an answer that drips would never reach it.
                async with asyncio.timeout(LIMIT_S):
                    reply = await self._clients[holder].post(
                        url,
                        content=question.model_dump_json(),
                        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                    )
                reply.raise_for_status()
            return answer.model_validate_json(reply.content, extra="ignore")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValidationError):
            telemetry.add("spean.questions.unanswered", holder=holder)
            raise HolderSilent from None

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


def _claims() -> dict[str, str]:
    """What is signed: that it is the network who asks, and within which trace."""
    within = telemetry.carried(telemetry.traceparent())
    return {"scope": "question", "sub": "referral", **({"traceparent": within} if within else {})}
