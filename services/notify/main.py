"""Telling: wiring of its rooms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from fastapi import FastAPI

from schemas.registry import HANDOFF, ORGANISATIONS, PLACES, REFERRALS
from services.notify import consumers
from services.notify.dashboards import api as dashboards_api
from services.notify.deliveries import api as deliveries_api
from services.notify.deliveries import handlers as deliveries
from services.notify.deliveries.handlers import Mail
from services.notify.partners import store as partners
from spean.auth import KEYS_LIMIT_S, Verifier, fetch_keys
from spean.db import Database
from spean.http import Door, make_app
from spean.provision import service_dsns
from spean.service import Parts, Service

NAME = "notify"
MIGRATIONS = Path(__file__).parent / "migrations"


def api() -> FastAPI:
    """The service's doors; what they lead to is put in by `build`."""
    app = make_app(NAME, "Telling: dashboards, deliveries.")
    for router in (dashboards_api.router, deliveries_api.router):
        app.include_router(router)
    return app


async def build(parts: Parts) -> Service:
    db = await Database.open(*service_dsns(parts.cluster, parts.roles, NAME))
    issuer = f"{parts.url}/referral"
    client = httpx.AsyncClient(timeout=KEYS_LIMIT_S)

    network_keys = partial(fetch_keys, client, issuer)

    async def suspended(org: UUID) -> bool:
        async with db.transaction("caller.status") as tx:
            return await partners.is_suspended(tx, org)

    app = api()
    app.state.door = Door(db, Verifier(issuer, NAME, network_keys), suspended, parts.roles.key("fingerprints"))
    mail = Mail(parts.settings.smtp, parts.settings.mail_from, f"{parts.url}/referral/")
    service = Service(
        name=NAME,
        source=f"spean/{NAME}",
        db=db,
        bus=parts.bus,
        app=app,
        reads=[*(HANDOFF.named(holder) for holder in parts.holders), REFERRALS.name, PLACES.name, ORGANISATIONS.name],
        events=consumers.HANDLERS,
        due={deliveries.SEND: partial(deliveries.deliver, db, mail)},
        close_with=[client.aclose],
    )
    app.state.draining = service.draining
    return service
