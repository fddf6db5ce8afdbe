"""When an answer leaves: not before what it rests on is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

from starlette.types import Message

from spean.db import Database, Tx
from spean.gated import TRIES, GatedResponse
from spean.http import Reply, View
from spean.problem import Refusal


class _Answer(View):
    told: int


class _Database:
    """Notes what is begun and kept."""

    slow_readers = nullcontext()

    def __init__(self) -> None:
        self.order: list[str] = []

    @asynccontextmanager
    async def transaction(self, name: str, *, org: UUID | None) -> AsyncIterator[Tx]:
        self.order.append("began")
        yield Tx(cast(Any, None), datetime.now(UTC), org, uuid4(), None)
        self.order.append("kept")


async def _asked(work: Callable[[Tx], Awaitable[Reply]]) -> list[str]:
    """What happened, in order."""
    db = _Database()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            db.order.append(message["body"].decode())

    answer = GatedResponse(cast(Database, db), "test", work)
    try:
        await answer({"type": "http", "method": "GET", "headers": []}, cast(Any, None), send)
    except Refusal as refusal:
        db.order.append(refusal.code)
    return db.order


async def test_what_says_nothing_new_leaves_at_once() -> None:
    async def work(tx: Tx) -> Reply:
        return Reply(_Answer(told=1))

    assert await _asked(work) == ["began", '{"told":1}', "kept"]


async def test_what_is_on_record_for_the_first_time_is_kept_before_it_leaves() -> None:
    composed = iter((1, 2))

    async def work(tx: Tx) -> Reply:
        tx.unkept = "this" not in tx.on_record
        tx.on_record.add("this")
        return Reply(_Answer(told=next(composed)))

    assert await _asked(work) == ["began", "kept", "began", '{"told":2}', "kept"], "composed anew under its own locks"


async def test_what_is_never_the_same_twice_does_not_leave() -> None:
    async def work(tx: Tx) -> Reply:
        tx.unkept = True
        return Reply(_Answer(told=1))

    assert await _asked(work) == [*(["began", "kept"] * TRIES), "busy"]


async def test_what_is_refused_keeps_nothing() -> None:
    async def work(tx: Tx) -> Reply:
        tx.unkept = True
        raise Refusal("not-found")

    assert await _asked(work) == ["began", "not-found"]
