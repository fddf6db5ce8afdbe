"""The network: wiring of its rooms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from fastapi import FastAPI

from schemas import questions as q
from schemas import versions
from schemas.registry import HANDOFF
from services.referral import consumers, restored
from services.referral.admin import mail
from services.referral.admin import pages as admin_pages
from services.referral.approvals import api as approvals_api
from services.referral.approvals import handlers as approvals
from services.referral.approvals import pages as approvals_pages
from services.referral.escalations import api as escalations_api
from services.referral.escalations import bases as escalations_bases
from services.referral.escalations import pages as escalations_pages
from services.referral.partners import api as partners_api
from services.referral.partners import directory
from services.referral.partners import store as partners
from services.referral.people import pages as people_pages
from services.referral.places import api as places_api
from services.referral.places import pages as places_pages
from services.referral.referrals import api as referrals_api
from services.referral.referrals import copies_api, handlers, store
from services.referral.referrals import pages as referrals_pages
from services.referral.sessions import account_pages
from services.referral.sessions import api as sessions_api
from services.referral.sessions import pages as sessions_pages
from services.referral.sessions.desk import Desk
from services.referral.sessions.handlers import find_visitor
from services.referral.shifts import pages as shifts_pages
from spean.ask import Holders
from spean.auth import Signer, Verifier
from spean.db import Database
from spean.grants import Limits
from spean.http import Door, make_app
from spean.provision import service_dsns
from spean.rejoin import passing
from spean.service import Parts, Service
from spean.turning import SigningKeys
from spean.web.live import Hub, Rising
from spean.web.pages import with_pages

NAME = "referral"
MIGRATIONS = Path(__file__).parent / "migrations"


def api() -> FastAPI:
    """The service's doors; what they lead to is put in by `build`."""
    app = make_app(NAME, "The network: partners, places, referrals.")
    for router in (
        referrals_api.router, copies_api.router, escalations_api.router, places_api.router, partners_api.router, approvals_api.router,
        sessions_api.router, escalations_bases.router,
    ):  # fmt: skip
        app.include_router(router)
    with_pages(
        app, directory.router, referrals_pages.router, places_pages.router, shifts_pages.router,
        escalations_pages.router, sessions_pages.router, account_pages.router, people_pages.router, approvals_pages.router, escalations_bases.pages,
        *admin_pages.routers,
    )  # fmt: skip
    return app


async def build(parts: Parts) -> Service:
    db = await Database.open(*service_dsns(parts.cluster, parts.roles, NAME))
    db.held_back = versions.held_back(parts.settings.say_as)
    issuer = f"{parts.url}/{NAME}"
    signer = Signer(SigningKeys(parts.settings.keys / NAME / "signing.jwk"), issuer)
    holders = Holders(parts.holders, signer)

    async def own_keys() -> dict[str, object]:
        return signer.public_keys()

    async def suspended(org: UUID) -> bool:
        async with db.statement("caller.status") as conn:
            return await partners.is_suspended(conn, org)

    app = api()
    app.state.door = Door(db, Verifier(issuer, NAME, own_keys), suspended, partial(parts.roles.keys, "fingerprints"))
    app.state.holders, app.state.signer, app.state.token_url = holders, signer, f"{issuer}/oauth/token"
    app.state.token_limits = Limits()
    client = httpx.AsyncClient()
    app.state.missing_mail = mail.missing_at(client, f"{parts.url}/notify")
    app.state.audiences = {address: parts.audience_of(holder) for holder, address in parts.holders.items()}
    app.state.desk = Desk.opened(db, parts.roles, parts.url, local=parts.settings.local)
    # An inbox that moves by itself counts as use: one that signs itself out at night would miss the request.
    app.state.visitors = find_visitor(db)

    async def ask(holder: str, question: q.NextCandidateQuestion) -> q.NextCandidateAnswer:
        return await holders.ask(holder, "next-candidate", question, q.NextCandidateAnswer)

    service = Service(
        name=NAME,
        source=f"spean/{NAME}",
        db=db,
        bus=parts.bus,
        app=app,
        reads=[HANDOFF.named(holder) for holder in parts.holders],
        events=await passing(db, consumers.HANDLERS),
        own=restored.own(),
        due={
            store.WAKE: partial(handlers.wake, db, ask),
            store.DEADLINE: partial(handlers.pass_deadline, db),
            approvals.DUE: partial(approvals.lapse, db),
        },
        close_with=[holders.close, client.aclose],
    )

    async def marks(organisations: frozenset[UUID]) -> tuple[datetime, Mapping[UUID, str]]:
        async with db.transaction("live.look") as tx:
            return tx.now, await store.inbox_marks(tx, list(organisations))

    app.state.live = Hub(Rising(marks), service.draining)
    return service
