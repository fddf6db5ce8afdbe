"""The holder: wiring of its rooms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from fastapi import FastAPI

from schemas import versions
from schemas.registry import ORGANISATIONS, REFERRALS
from services.intake import consumers, restored, vouched
from services.intake.bases import api as bases_api
from services.intake.bases import handlers as bases
from services.intake.bases import pages as bases_pages
from services.intake.cases import api as cases_api
from services.intake.cases import pages as cases_pages
from services.intake.cases import preview, steps
from services.intake.consent import api as consent_api
from services.intake.consent import decision_pages, never_pages, stopping_pages
from services.intake.consent import handlers as consent
from services.intake.consent import pages as consent_pages
from services.intake.disclosure import api as disclosure_api
from services.intake.disclosure import audit, audit_pages, crowd, visits
from services.intake.disclosure import pages as disclosure_pages
from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers as drafts
from services.intake.drafts import pages as drafts_pages
from services.intake.erasure import api as erasure_api
from services.intake.erasure import copies, copies_api, officer_pages, retention_pages
from services.intake.erasure import handlers as erasure
from services.intake.erasure import pages as erasure_pages
from services.intake.handoffs import api as handoffs_api
from services.intake.handoffs import pages as handoffs_pages
from services.intake.handoffs import request_pages
from services.intake.handoffs import store as handoff_store
from services.intake.handoffs.stopping import ERASURE_DUE
from services.intake.identification import api as identification_api
from services.intake.identification import pages as identification_pages
from services.intake.issuing import api as issuing
from services.intake.issuing import handlers as admitted
from services.intake.keystore import endings
from services.intake.keystore import store as keystore
from services.intake.keystore.store import KeyStore, Silent, WrongKey
from services.intake.rules import api as rules_api
from services.intake.rules import handlers as rules
from services.intake.rules import limits, limits_pages, usual_pages
from services.intake.rules import pages as rules_pages
from services.intake.screening import api as screening_api
from services.intake.screening import pages as screening_pages
from spean.auth import KEYS_LIMIT_S, Kind, Signer, Verifier, fetch_keys
from spean.db import Database, DatabaseProblem
from spean.http import Door, make_app
from spean.loops import back_off
from spean.provision import service_dsns
from spean.rejoin import passing
from spean.service import Parts, Service
from spean.turning import SigningKeys
from spean.web.network import listed_at
from spean.web.pages import with_pages
from spean.web.visitor import exchanged_at

log = logging.getLogger(__name__)
NAME = "intake"
MIGRATIONS = Path(__file__).parent / "migrations"


def api() -> FastAPI:
    """The service's doors; what they lead to is put in by `build`."""
    app = make_app(NAME, "The holder: entries, consent, the gate, hand-offs.")
    for router in (
        cases_api.router, consent_api.router, handoffs_api.router, disclosure_api.router, disclosure_api.questions,
        rules_api.router, limits.router, audit.router, screening_api.router, bases_api.router, erasure_api.router, copies_api.router,
        identification_api.router,
    ):  # fmt: skip
        app.include_router(router)
    with_pages(
        app, drafts_pages.router, steps.router, cases_pages.router, preview.router, consent_pages.router,
        stopping_pages.router, decision_pages.router, never_pages.router, handoffs_pages.router, request_pages.router, disclosure_pages.router,
        screening_pages.router, officer_pages.router, audit_pages.router, retention_pages.router, limits_pages.router, rules_pages.router, usual_pages.router, bases_pages.router, erasure_pages.router,
        identification_pages.router,
    )  # fmt: skip
    return app


async def opened(db: Database, keys: KeyStore) -> Callable[[], Awaitable[None]]:
    """Take over the fences and endings and open the key store, now or, where it is silent, as soon as it answers. Returns
    what ends the waiting. Raises WrongKey where that is known at once, DatabaseProblem of the holder's own database."""

    async def take_over() -> None:
        kept, destroyed, ended = await keys.look(), await keys.destroyed(), await keys.ended()
        async with db.transaction("fences.apply") as tx:
            await consent.apply_kept_fences(tx, kept)
            erased = await erasure.apply_destroyed(tx, destroyed)
        await rules.apply_kept_endings(db, ended)
        await bases.apply_kept_endings(db, ended)
        await admitted.apply_kept_endings(db, ended)
        await keys.destroy(*erased)
        keys.unshut()

    async def until_it_answers() -> None:
        failures = 0
        while True:
            await back_off(failures)
            failures += 1
            try:
                await take_over()
            except WrongKey:
                log.error("the key-encryption key is not that of the key store: nobody can be read")
            except DatabaseProblem:
                continue
            else:
                log.warning("the key store answers: its fences are taken over")
                return

    try:
        await take_over()
    except Silent:
        log.error("the key store is silent: nobody can be read until it answers")
        return partial(_ended, asyncio.create_task(until_it_answers(), name="key store"))
    return _nothing


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _nothing() -> None:
    """Nobody waits."""


def trust(app: FastAPI, parts: Parts, db: Database, client: httpx.AsyncClient) -> Verifier:
    """Who vouches for whoever writes here: the network; or this holder itself; or another issuer, which offers what the
    network does (keys, tokens, sessions). Whose tickets and questions count is another matter: the network's alone."""
    holder = parts.settings.holder
    issuer, audience = parts.settings.issuer or f"{parts.url}/referral", parts.audience_of(holder)
    app.state.directory = listed_at(client, issuer)  # shows it the visitor's session: nobody else may see that
    if issuer == parts.holders.get(holder):
        app.state.visitors = issuing.nobody
        return issuing.own(app, Signer(app.state.signing_key, issuer), issuer, audience)
    keys = partial(fetch_keys, client, issuer)
    sessions = Verifier(issuer, NAME, keys, Kind.SESSION)
    exchanged = partial(exchanged_at, client, issuer, sessions, NAME)
    app.state.visitors, app.state.remembered = vouched.remembering(db, exchanged()), vouched.remembered(db)
    # A hand-off that is looked at by itself is no use of the session: phones are shared.
    app.state.watchers = exchanged(watching=True)
    return Verifier(issuer, audience, keys)


async def build(parts: Parts) -> Service:
    """Fences that the key store knows are shut again, and what it knows to be ended has ended, before anybody can be read;
    where it does not answer, the holder runs without it: nobody is read, and everybody can stop."""
    settings = parts.settings
    db = await Database.open(*service_dsns(parts.cluster, parts.roles, NAME))
    db.holder = settings.holder
    db.held_back = versions.held_back(settings.say_as)
    keys = await KeyStore.begin(
        service_dsns(parts.cluster, parts.roles, keystore.DATABASE)[1], settings.keys / NAME / "kek-1"
    )
    opening = await opened(db, keys)

    network = f"{parts.url}/referral"
    client = httpx.AsyncClient(timeout=KEYS_LIMIT_S)
    network_keys = partial(fetch_keys, client, network)

    async def suspended(org: UUID) -> bool:
        async with db.statement("caller.status") as conn:
            return await handoff_store.is_suspended(conn, org)

    app = api()
    app.state.signing_key = SigningKeys(settings.keys / NAME / "signing.jwk")
    callers = trust(app, parts, db, client)
    app.state.door = Door(db, callers, suspended, partial(parts.roles.keys, "fingerprints"))
    holder = Holder(keys, settings.country)
    app.state.holder, app.state.duty_phone = holder, settings.duty_phone
    app.state.questions = Verifier(network, f"holder:{settings.holder}", network_keys, Kind.QUESTION)
    app.state.tickets = Verifier(network, f"packet:{settings.holder}", network_keys, Kind.TICKET)
    return Service(
        name=NAME,
        source=f"spean/{NAME}/{settings.holder}",
        db=db,
        bus=parts.bus,
        app=app,
        reads=[REFERRALS.name, ORGANISATIONS.name],
        events=await passing(db, consumers.handlers_for(holder)),
        own=restored.own(holder, settings.holder),
        due={
            ERASURE_DUE: partial(copies.overdue, db),
            rules.ENDS: partial(rules.ended, db, holder),
            consent.LOOK: partial(consent.look, db, holder),
            consent.KEEP: partial(consent.keep, db, holder),
            endings.KEEP: partial(endings.keep, db, keys),
            bases.DUE: partial(bases.due, db, holder),
            drafts.OVER: partial(drafts.over, db, keys),
            erasure.DUE: partial(erasure.due, db, holder),
            crowd.DUE: partial(crowd.count, db, keys),
        },
        old=[visits.forget, erasure.look_for_overdue],
        close_with=[opening, keys.close, client.aclose],
    )
