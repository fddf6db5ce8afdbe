"""The exchange: what another service shows a visitor's session cookie for."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from services.referral.sessions.handlers import find_visitor
from spean.auth import Kind, Signer
from spean.http import Body, View
from spean.problem import Refusal
from spean.web.visitor import SESSION_TOKEN_S, claims_of

router = APIRouter(tags=["sign-in"])


class ExchangeBody(Body):
    session: Annotated[str, Field(max_length=200)]
    audience: Literal["intake", "notify"]
    watching: bool = Field(default=False, description="a page looks by itself: no use of the session")


class SessionTokenView(View):
    token: str
    expires_in: int


@router.post("/sessions/exchange")
async def exchange(body: ExchangeBody, request: Request) -> SessionTokenView:
    """Exchange a visitor's session for a token of a minute, for one service that serves pages. Whoever has the session may;
    it is sent in the body, which no page of another site can do. Takes no Idempotency-Key: every answer is a new token."""
    visitor = await find_visitor(request.app.state.door.db, watching=body.watching)(body.session)
    if visitor is None:
        raise Refusal("no-session")
    signer: Signer = request.app.state.signer
    token = signer.sign(Kind.SESSION, body.audience, SESSION_TOKEN_S, claims_of(visitor))
    return SessionTokenView(token=token, expires_in=SESSION_TOKEN_S)
