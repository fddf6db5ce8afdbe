"""PostgreSQL refuses what the tables refuse: every pair of states, and every row that the domain never makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.referral.main import MIGRATIONS
from services.referral.referrals.domain import FINAL, OFFER, OPEN, REFERRAL, OfferState, State
from spean.embedded import Server
from spean.provision import Roles, prepare

NOW = datetime(2026, 3, 1, tzinfo=UTC)
S = State
WITH_OFFER = {S.OFFERED, S.ACCEPTED, S.READY, S.MISSING, S.IN_PROGRESS, S.COMPLETED}
WITHOUT_STEP = {S.UNROUTABLE, S.ON_HOLD, S.MISSING}
ALLOWED = {(before, after) for (before, _), after in REFERRAL.items()}
OFFERS_ALLOWED = {(before, after) for (before, _), after in OFFER.items()}
HOLDS_ALLOWED = {("held", "staying"), ("held", "freed"), ("staying", "freed")}


@pytest.fixture(scope="module")
async def dsn(postgres: Server) -> str:
    await prepare(postgres, Roles(b"secret of the tests"), "schema_network", MIGRATIONS)
    return postgres.dsn("schema_network")


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Any]:
    """Inside a transaction that is never kept."""
    made = await asyncpg.connect(dsn)
    transaction = made.transaction()
    await transaction.start()
    try:
        yield made
    finally:
        await transaction.rollback()
        await made.close()


def whole(state: State) -> dict[str, Any]:
    """The columns of a referral as the domain leaves them in this state."""
    final = state in FINAL
    return {
        "state": state,
        "step_at": None if final or state in WITHOUT_STEP else NOW,
        "remind_at": NOW if state in WITHOUT_STEP else None,
        "escalated": "no-candidate" if state in WITHOUT_STEP else None,
        "taken_by": None,
        "offer": uuid4() if state in WITH_OFFER else None,
        "arrived_at": NOW if state is S.IN_PROGRESS else None,
        "arrival_verified": True if state is S.IN_PROGRESS else None,
        "ended_at": NOW if final else None,
    }


async def insert(conn: Any, table: str, values: dict[str, Any]) -> None:
    names, marks = ", ".join(values), ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await conn.execute(f"insert into {table} ({names}) values ({marks})", *values.values())


async def update(conn: Any, table: str, id_: UUID, values: dict[str, Any], key: str = "id") -> bool:
    """Was it allowed? A refusal leaves the transaction usable."""
    sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 2))
    try:
        async with conn.transaction():
            await conn.execute(f"update {table} set {sets} where {key} = $1", id_, *values.values())
    except asyncpg.CheckViolationError:
        return False
    return True


async def referral(conn: Any, state: State) -> UUID:
    organisation, network, id_ = uuid4(), uuid4(), uuid4()
    await insert(
        conn, "organisation",
        {"id": organisation, "name": "Sample", "type": "shelter", "country": "KH", "law_enforcement": False},
    )  # fmt: skip
    await insert(conn, "network", {"id": network, "name": "Sample", "coordinator": organisation, "windows": "{}"})
    rest = {
        "id": id_, "network": network, "holder": "main", "sender": organisation, "coordinator": organisation,
        "service_group": "shelter", "urgency": "urgent", "area": "KH-1", "places": 1, "requested_at": NOW, "deadline": NOW,
        "windows": "{}", "asked_from": NOW,
    }  # fmt: skip
    await insert(conn, "referral", {**rest, **whole(state)})
    return id_


@pytest.mark.parametrize("before", State)
async def test_a_referral_is_moved_only_as_the_table_says(conn: Any, before: State) -> None:
    for after in State:
        id_ = await referral(conn, before)
        moved = await update(conn, "referral", id_, whole(after))
        assert moved == (before is after or (before, after) in ALLOWED), after


async def _offer(conn: Any, state: OfferState) -> UUID:
    about = await referral(conn, State.REQUESTED)
    row = await conn.fetchrow("select * from referral where id = $1", about)
    place, id_ = uuid4(), uuid4()
    await insert(
        conn, "place",
        {"id": place, "organisation": row["sender"], "network": row["network"], "service_group": "shelter",
         "service_types": ["emergency_bed"], "area": "KH-1", "eligibility": "{}", "usable": 3},
    )  # fmt: skip
    values = {
        "id": id_, "referral": about, "organisation": row["sender"], "coordinator": row["coordinator"], "place": place,
        "sent_at": NOW, "answer_by": NOW, **whole_offer(state),
    }  # fmt: skip
    await insert(conn, "offer", values)
    return id_


def whole_offer(state: OfferState) -> dict[str, Any]:
    over = state not in OPEN
    return {
        "state": state,
        "answered_at": NOW if over else None,
        "reason": "full" if over and state is not OfferState.ACCEPTED else None,
    }


@pytest.mark.parametrize("before", OfferState)
async def test_an_offer_is_moved_only_as_the_table_says(conn: Any, before: OfferState) -> None:
    for after in OfferState:
        id_ = await _offer(conn, before)
        moved = await update(conn, "offer", id_, whole_offer(after))
        assert moved == (before is after or (before, after) in OFFERS_ALLOWED), after


async def test_a_hold_is_moved_only_forward(conn: Any) -> None:
    states = ("held", "staying", "freed")
    for before in states:
        for after in states:
            offer = await _offer(conn, OfferState.ACCEPTED)
            place = await conn.fetchval("select place from offer where id = $1", offer)
            freed = {state: NOW if state == "freed" else None for state in states}
            hold = {
                "offer": offer,
                "place": place,
                "places": 1,
                "state": before,
                "since": NOW,
                "freed_at": freed[before],
            }
            await insert(conn, "hold", hold)
            moved = await update(conn, "hold", offer, {"state": after, "freed_at": freed[after]}, key="offer")
            assert moved == (before == after or (before, after) in HOLDS_ALLOWED), (before, after)


IMPOSSIBLE: list[tuple[State, dict[str, Any]]] = [
    *((state, {"step_at": None, "remind_at": None, "escalated": None}) for state in State if state not in FINAL),
    *((state, {"step_at": NOW}) for state in WITHOUT_STEP | FINAL),
    *((state, {"step_at": None, "remind_at": NOW}) for state in (S.REQUESTED, S.OFFERED, S.READY)),
    *((state, {"offer": None}) for state in WITH_OFFER),
    *((state, {"offer": uuid4()}) for state in (S.REQUESTED, S.UNROUTABLE, S.CANCELLED)),
    *((state, {"ended_at": None}) for state in FINAL),
    *((state, {"ended_at": NOW}) for state in State if state not in FINAL),
    *((state, {"escalated": "no-candidate", "remind_at": None}) for state in (S.REQUESTED, S.READY)),
    *((state, {"escalated": None, "taken_by": "somebody"}) for state in (S.REQUESTED, S.MISSING)),
    (S.IN_PROGRESS, {"arrived_at": None, "arrival_verified": None}),
    (S.IN_PROGRESS, {"arrival_verified": None}),
    (S.READY, {"arrived_at": NOW, "arrival_verified": True}),
    (S.UNROUTABLE, {"escalated": "boredom"}),
    (S.REQUESTED, {"urgency": "unknown"}),
    (S.REQUESTED, {"places": 0}),
]


@pytest.mark.parametrize(("state", "change"), IMPOSSIBLE)
async def test_a_row_that_the_domain_never_makes_is_refused(conn: Any, state: State, change: dict[str, Any]) -> None:
    id_ = await referral(conn, state)
    assert await update(conn, "referral", id_, whole(state)), "whole as it is"
    assert not await update(conn, "referral", id_, change)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        (OfferState.SENT, {"answered_at": NOW}),
        (OfferState.ACCEPTED, {"answered_at": None}),
        (OfferState.ACCEPTED, {"reason": "full"}),
        (OfferState.REJECTED, {"reason": None}),
        (OfferState.EXPIRED, {"reason": "boredom"}),
    ],
)
async def test_an_offer_that_the_domain_never_makes_is_refused(
    conn: Any, state: OfferState, change: dict[str, Any]
) -> None:
    id_ = await _offer(conn, state)
    assert not await update(conn, "offer", id_, change)


async def test_one_open_offer_for_each_referral(conn: Any) -> None:
    id_ = await _offer(conn, OfferState.ACCEPTED)
    row = dict(await conn.fetchrow("select * from offer where id = $1", id_))
    for state in (OfferState.REJECTED, OfferState.EXPIRED, OfferState.WITHDRAWN):
        await insert(conn, "offer", {**row, "id": uuid4(), **whole_offer(state)})
    for state in (OfferState.SENT, OfferState.SEEN, OfferState.ACCEPTED):
        with pytest.raises(asyncpg.UniqueViolationError):
            async with conn.transaction():
                await insert(conn, "offer", {**row, "id": uuid4(), **whole_offer(state)})
