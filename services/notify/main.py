"""Telling: wiring of its rooms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from fastapi import FastAPI

from schemas import versions
from schemas.registry import DELIVERIES, HANDOFF, ORGANISATIONS, PLACES, REFERRALS
from services.notify import consumers, restored
from services.notify.dashboards import api as dashboards_api
from services.notify.dashboards import handlers as dashboards
from services.notify.dashboards import pages as dashboards_pages
from services.notify.dashboards import store as dashboards_store
from services.notify.dashboards.figures import Board
from services.notify.deliveries import api as deliveries_api
from services.notify.deliveries import handlers as deliveries
from services.notify.deliveries import pages as deliveries_pages
from services.notify.deliveries.handlers import Mail
from services.notify.partners import store as partners
from spean.auth import KEYS_LIMIT_S, Kind, Verifier, fetch_keys
from spean.db import Database
from spean.http import Door, make_app
from spean.provision import service_dsns
from spean.rejoin import passing
from spean.service import Parts, Service
from spean.web.live import Hub
from spean.web.network import listed_at
from spean.web.pages import with_pages
from spean.web.visitor import exchanged_at

NAME = "notify"
MIGRATIONS = Path(__file__).parent / "migrations"


def api() -> FastAPI:
    """The service's doors; what they lead to is put in by `build`."""
    app = make_app(NAME, "Telling: dashboards, deliveries.")
    for router in (dashboards_api.router, deliveries_api.router):
        app.include_router(router)
    with_pages(app, dashboards_pages.router, deliveries_pages.router)
    return app


async def build(parts: Parts) -> Service:
    db = await Database.open(*service_dsns(parts.cluster, parts.roles, NAME))
    db.held_back = versions.held_back(parts.settings.say_as)
    issuer = f"{parts.url}/referral"
    client = httpx.AsyncClient(timeout=KEYS_LIMIT_S)

    network_keys = partial(fetch_keys, client, issuer)

    async def suspended(org: UUID) -> bool:
        async with db.transaction("caller.status") as tx:
            return await partners.is_suspended(tx, org)

    app = api()
    app.state.door = Door(
        db, Verifier(issuer, NAME, network_keys), suspended, partial(parts.roles.keys, "fingerprints")
    )
    sessions = Verifier(issuer, NAME, network_keys, Kind.SESSION)
    app.state.visitors = exchanged_at(client, issuer, sessions, NAME)
    app.state.watchers = exchanged_at(client, issuer, sessions, NAME, watching=True)
    app.state.directory = listed_at(client, issuer)  # with the visitor's own session
    only = next(iter(parts.holders)) if len(parts.holders) == 1 else None
    mail = Mail(parts.settings.smtp, parts.settings.mail_from, f"{parts.url}/referral/")
    service = Service(
        name=NAME,
        source=f"spean/{NAME}",
        db=db,
        bus=parts.bus,
        app=app,
        reads=[
            *(HANDOFF.named(holder) for holder in parts.holders),
            *(topic.name for topic in (REFERRALS, PLACES, ORGANISATIONS, DELIVERIES)),
        ],
        events=await passing(db, consumers.handlers_for(only)),
        own=restored.own(),
        due={deliveries.SEND: partial(deliveries.deliver, db, mail)},
        old=[dashboards.forget_old],
        shows=[deliveries.waiting],
        close_with=[client.aclose],
    )

    async def newest(organisations: frozenset[UUID]) -> Mapping[UUID, int]:
        async with db.transaction("live.look") as tx:
            return await dashboards_store.newest_of(tx, list(organisations))

    app.state.live, app.state.board = Hub(newest, service.draining), Board(db, parts.bus, service.reads)
    return service
