"""The token endpoint of a holder that is its own issuer. It is there only then."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from services.intake.issuing import handlers
from spean import grants
from spean.auth import Signer, Verifier
from spean.db import Tx
from spean.web.visitor import Visitor

router = APIRouter(tags=["sign-in"])


def own(app: FastAPI, signer: Signer, address: str, audience: str) -> Verifier:
    """Give the application its token endpoint, below its own `address`. Returns what checks the tokens for `audience`, this
    holder's."""
    app.state.issuer, app.state.issued_for, app.state.issued_at = signer, audience, address
    app.state.token_limits = grants.Limits()
    app.include_router(router)

    async def own_keys() -> dict[str, Any]:
        return signer.public_keys()

    return Verifier(signer.issuer, audience, own_keys)


async def nobody(_: str) -> Visitor | None:
    """No session opens a page of a holder that is its own issuer: it signs in systems, and the network's word on people is not
    taken there."""
    return None


@router.post("/oauth/token", include_in_schema=False)
async def token(request: Request) -> Response:
    """Exchange a signed assertion (RFC 7523, one use) for an access token of five minutes, as at the network."""
    state = request.app.state
    address, audience = state.issued_at, state.issued_for

    async def sign_in(tx: Tx, assertion: str, wanted: frozenset[str], _: str | None) -> tuple[str, dict[str, Any]]:
        return await handlers.sign_in(tx, state.issuer, audience, assertion, wanted, f"{address}/oauth/token")

    return await grants.answer(request, state.door.db, state.token_limits, {address: audience}, sign_in)
