"""The floor of what is asked over HTTP: FastAPI and asyncpg with the same rows, and nothing of what makes it safe.

`python -m bench.bare_app POSTGRES PORT`; says `serving` when it answers. No sign-in, no row-level security, no rules,
no once-only keys that are looked up: the statements alone.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from spean.web.live import LOOK_EVERY_S

TABLES = """
create table if not exists bare_handoff (id uuid primary key, org uuid not null, network uuid not null, service_type text not null,
    urgency text not null, area text not null, places int not null, requested_at timestamptz not null, state text not null);
create table if not exists bare_member (handoff uuid not null, entry uuid not null, sealed_key bytea not null, primary key (handoff, entry));
create table if not exists bare_offer (id uuid primary key, referral uuid not null, organisation uuid not null, state text not null,
    answered_at timestamptz, answer_by timestamptz not null);
create table if not exists bare_referral (id uuid primary key, state text not null, group_ text not null, urgency text not null,
    area text not null, places int not null);
create table if not exists bare_place (id uuid primary key, held int not null);
create table if not exists bare_hold (offer uuid primary key, place uuid not null, places int not null, since timestamptz not null);
create table if not exists bare_entry (id uuid primary key, org uuid not null, channel text not null, happened_at timestamptz not null,
    area text not null, screening uuid not null, screening_row bigint not null, sealed bytea not null, created_at timestamptz not null);
"""
_SAY = """
    insert into outbox (id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid)
    values ($1, 'bare', $2, 'bare', $3, 1, $4::bigint, now(), $1)
"""
_KEEP = "insert into idempotency (org, key, fingerprint, status, body) values ($1, $2, $3, 201, $4)"
_ORG = UUID(int=1)
PLACE = UUID(int=2)


class HandoffBody(BaseModel):
    network: UUID
    service_type: str
    urgency: str
    area: str
    members: tuple[UUID, ...]


class Made(BaseModel):
    id: UUID


def bare(dsn: str) -> FastAPI:
    @asynccontextmanager
    async def pooled(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(dsn, min_size=8, max_size=8) as app.state.pool:
            yield

    app = FastAPI(lifespan=pooled)
    app.state.watchers = set()

    def pool() -> asyncpg.Pool[asyncpg.Record]:
        found: asyncpg.Pool[asyncpg.Record] = app.state.pool
        return found

    @app.post("/handoffs", status_code=201)
    async def handoff(body: HandoffBody) -> Made:
        made = Made(id=uuid4())
        async with pool().acquire() as conn, conn.transaction():
            await conn.execute(
                "insert into bare_handoff values ($1, $2, $3, $4, $5, $6, $7, $8, 'requested')",
                made.id, _ORG, body.network, body.service_type, body.urgency, body.area, len(body.members), datetime.now(UTC),
            )  # fmt: skip
            for member in body.members:
                await conn.execute("insert into bare_member values ($1, $2, $3)", made.id, member, bytes(60))
            await conn.execute("insert into aggregate values ($1, 1)", made.id)
            await conn.execute(_SAY, uuid4(), made.id, body.model_dump_json(), 1)
            await conn.execute(_KEEP, _ORG, str(made.id), bytes(32), made.model_dump_json())
        return made

    @app.post("/offers/{offer}/accept")
    async def accept(offer: UUID) -> Made:
        made = Made(id=offer)
        async with pool().acquire() as conn, conn.transaction():
            referral = await conn.fetchval("select referral from bare_offer where id = $1 for update", offer)
            await conn.execute("update bare_offer set state = 'accepted', answered_at = now() where id = $1", offer)
            await conn.execute("update bare_place set held = held + 1 where id = $1", PLACE)
            await conn.execute("insert into bare_hold values ($1, $2, 1, now())", offer, PLACE)
            await conn.execute("update bare_referral set state = 'accepted' where id = $1", referral)
            await conn.execute("update aggregate set sequence = sequence + 1 where id = $1", referral)
            await conn.execute(_SAY, uuid4(), referral, made.model_dump_json(), 2)
            await conn.execute(_KEEP, _ORG, str(offer), bytes(32), made.model_dump_json())
        return made

    @app.get("/inbox")
    async def inbox() -> list[dict[str, object]]:
        async with pool().acquire() as conn:
            rows = await conn.fetch(
                "select o.*, r.group_, r.urgency, r.area, r.places from bare_offer o join bare_referral r on r.id = o.referral "
                "where o.state = 'sent' order by o.answer_by limit 50"
            )
        return [dict(row) for row in rows]

    @app.get("/changes")
    async def changes(request: Request) -> StreamingResponse:
        return StreamingResponse(_watch(request.app, pool()), media_type="text/event-stream")

    return app


async def _watch(app: FastAPI, pool: asyncpg.Pool[asyncpg.Record]) -> AsyncIterator[bytes]:
    """One look at the table for everybody who watches."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    app.state.watchers.add(queue)
    if len(app.state.watchers) == 1:
        app.state.looking = asyncio.create_task(_look(app, pool))
    yield b": here\n\n"
    while True:
        number = await queue.get()
        yield f"id: {number}\nevent: change\ndata: {{}}\n\n".encode()


async def _look(app: FastAPI, pool: asyncpg.Pool[asyncpg.Record]) -> None:
    last = await pool.fetchval("select coalesce(max(id), 0) from written")
    while True:
        for row in await pool.fetch("select id from written where id > $1 order by id", last):
            last = row["id"]
            for queue in app.state.watchers:
                queue.put_nowait(last)
        await asyncio.sleep(LOOK_EVERY_S)


class _Said(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write("serving\n")
        sys.stdout.flush()


if __name__ == "__main__":
    app_ = bare(sys.argv[1])
    _Said(uvicorn.Config(app_, port=int(sys.argv[2]), http="h11", log_level="error", access_log=False)).run()
