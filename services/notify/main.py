"""Telling: wiring of its rooms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from schemas.registry import HANDOFF, PLACES, REFERRALS
from services.notify import consumers
from services.notify.dashboards import api as dashboards_api
from services.notify.deliveries import api as deliveries_api
from services.notify.deliveries import handlers as deliveries
from services.notify.deliveries.handlers import Mail
from spean.auth import Verifier
from spean.db import Database
from spean.http import Door, make_app
from spean.provision import service_dsns
from spean.service import Parts, Service

NAME = "notify"
MIGRATIONS = Path(__file__).parent / "migrations"
_JWKS_LIMIT_S = 5.0


async def build(parts: Parts) -> Service:
    db = await Database.open(*service_dsns(parts.cluster, parts.roles, NAME))
    issuer = f"{parts.url}/referral"
    client = httpx.AsyncClient(timeout=_JWKS_LIMIT_S)

    async def network_keys() -> dict[str, Any]:
        reply = await client.get(f"{issuer}/.well-known/jwks.json")
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    async def suspended(org: UUID) -> bool:
        del org  # numbers only; tokens end within five minutes of a suspension
        return False

    app = make_app(
        "Spean notify", "Telling: dashboards, deliveries.", Door(db, Verifier(issuer, NAME, network_keys), suspended)
    )
    for router in (dashboards_api.router, deliveries_api.router):
        app.include_router(router)
    mail = Mail(parts.settings.smtp, parts.settings.mail_from, f"{parts.url}/referral/")
    return Service(
        name=NAME,
        source=f"spean/{NAME}",
        db=db,
        bus=parts.bus,
        app=app,
        reads=[*(HANDOFF.named(holder) for holder in parts.holders), REFERRALS.name, PLACES.name],
        events=consumers.HANDLERS,
        due={deliveries.SEND: partial(deliveries.deliver, db, mail)},
        close_with=[client.aclose],
    )
