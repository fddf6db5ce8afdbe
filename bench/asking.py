"""What people wait for: asking for a service, the inbox, accepting. Doors alone, as processes of their own are loaded."""

from __future__ import annotations

from uuid import UUID, uuid4

from bench import wire
from bench.figures import Figure, at_quantile
from bench.ground import REPEATS, SHORT, WRITER
from bench.stage import PEOPLE, SERVICES, Stage, cookie_of
from schemas.rights import StaffRole
from spean.web.visitor import COOKIE

PAGES = 30 if SHORT else 150
_BESIDE = "bare FastAPI and asyncpg, the same rows"


async def measure(on: Stage) -> list[Figure]:
    kind = on.ground.kind
    posting = Figure("POST a hand-off", kind, "requests/s", "more", _BESIDE, 0.5)
    posting_p99 = Figure("POST a hand-off, p99 with 8 lines", kind, "ms", "less", _BESIDE)
    inbox = Figure(
        "inbox, 50 requests on it", kind, "pages/s", "more", "bare FastAPI and asyncpg, the same rows as JSON"
    )
    accepting = Figure("accept an offer", kind, "requests/s", "more", _BESIDE)
    for service in SERVICES[:REPEATS]:
        await _post(on, service, posting, posting_p99)
        async with on.working():
            offers = await on.open_offers(service, PEOPLE)
        await _prepare_bare(on, len(offers))
        await _inbox(on, service, inbox)
        await _accept(on, service, offers, accepting)
    return [posting, posting_p99, inbox, accepting]


async def _post(on: Stage, service: str, rate: Figure, p99: Figure) -> None:
    sender = on.world.sender.partner
    asked = [on.ask(service, person) for person in on.people]
    ready = [
        wire.request("POST", on.url, "/intake/handoffs", body, **await on.headers(sender, str(uuid4())))
        for body in asked
    ]
    ours = await wire.pour(on.url, ready, 201)
    bare = await wire.pour(on.bare, [wire.request("POST", on.bare, "/handoffs", body) for body in asked], 201)
    rate.ours.append(ours.per_s)
    rate.floor.append(bare.per_s)
    p99.ours.append(at_quantile(ours.each, 0.99) * 1000)
    p99.floor.append(at_quantile(bare.each, 0.99) * 1000)


async def _prepare_bare(on: Stage, count: int) -> None:
    """As many open offers as ours."""
    conn = await on.ground.connect(WRITER)
    await conn.execute("truncate bare_offer, bare_referral, bare_hold, idempotency, aggregate, outbox")
    pairs = [(uuid4(), uuid4()) for _ in range(count)]
    columns = [list(column) for column in zip(*pairs, strict=True)]
    await conn.execute(
        "insert into bare_referral select r, 'offered', 'shelter', 'emergency', 'KH-1', 1 from unnest($1::uuid[]) as t (r)",
        columns[1],
    )
    await conn.execute("insert into aggregate select r, 1 from unnest($1::uuid[]) as t (r)", columns[1])
    await conn.execute(
        "insert into bare_offer select o, r, $3, 'sent', null, now() + interval '1 day' from unnest($1::uuid[], $2::uuid[]) as t (o, r)",
        *columns, UUID(int=3),
    )  # fmt: skip
    await conn.close()


async def _inbox(on: Stage, service: str, figure: Figure) -> None:
    cookie = await cookie_of(on.world.made, on.house(service), StaffRole.RECEIVER)
    page = wire.request("GET", on.url, "/referral/pages/inbox", Cookie=f"{COOKIE}={cookie}")
    await wire.pour(on.url, [page] * 2, 200, at_once=1)
    figure.ours.append((await wire.pour(on.url, [page] * PAGES, 200)).per_s)
    figure.floor.append((await wire.pour(on.bare, [wire.request("GET", on.bare, "/inbox")] * PAGES, 200)).per_s)


async def _accept(on: Stage, service: str, offers: list[str], figure: Figure) -> None:
    house = on.house(service).partner
    ready = [
        wire.request("POST", on.url, f"/referral/offers/{offer}/accept", **await on.headers(house, str(uuid4())))
        for offer in offers
    ]
    figure.ours.append((await wire.pour(on.url, ready, 200)).per_s)
    conn = await on.ground.connect(WRITER)
    open_ = [str(row["id"]) for row in await conn.fetch("select id from bare_offer")]
    await conn.close()
    bare = [wire.request("POST", on.bare, f"/offers/{offer}/accept") for offer in open_]
    figure.floor.append((await wire.pour(on.bare, bare, 200)).per_s)
