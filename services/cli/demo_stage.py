"""The demo's stage: a network of its own, founded through the administrator's API, and what its organisations can do.

Everything goes through the public HTTP interfaces, each organisation with a credential of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from joserfc.jwk import OKPKey

from schemas.vocabulary import DataCategory, Need, Purpose
from services.cli.bootstrap import CLIENT
from services.cli.client import Partner
from services.intake.cases.fields import OFFER_FIELDS, PLACEMENT_FIELDS
from spean.crypto import public_jwk

# Long enough for an office computer under load; a healthy installation answers within a second.
PATIENCE_S = 30.0
LOOK_EVERY_S = 0.05
# Windows by configuration: a house has this long to answer an `immediate` request in the demo's network.
ANSWER_SHORT_S = 4
WINDOWS = {"answer_s": {"immediate": ANSWER_SHORT_S, "emergency": 300, "urgent": 300, "normal": 300}}
_PACKET = [
    *OFFER_FIELDS, "name", "age_years", "phone", "safety_notes", "family_notes", "health_notes", "citizenship",
    "recruiter_notes",
]  # fmt: skip
_CATEGORIES = sorted(DataCategory)
_PURPOSES = sorted(Purpose)
_WOMEN = {"sexes": ["female"], "min_age": 18}


class NeverCame(Exception):
    """Something that the demo waited for did not happen in time. The message says what."""


async def until(what: str, look: Callable[[], Awaitable[Any]], within_s: float = PATIENCE_S) -> Any:
    """Look again until there is something. Raises NeverCame."""
    end = time.monotonic() + within_s
    while not (found := await look()):
        if time.monotonic() > end:
            raise NeverCame(f"{what} did not come within {within_s:.0f} s")
        await asyncio.sleep(LOOK_EVERY_S)
    return found


@dataclass(slots=True)
class Organisation:
    """One organisation of the demo and the system that signs in for it. It is registered as a sample."""

    id: str
    name: str
    partner: Partner


@dataclass(slots=True)
class House(Organisation):
    """An organisation with a pool of places. `desk` is held by who expects its next offer: offers carry no name."""

    place: str
    desk: asyncio.Lock = field(default_factory=asyncio.Lock)
    _known: set[str] = field(default_factory=set)

    async def next_offer(self) -> dict[str, Any]:
        """The offer that comes next, as the house's inbox shows it. Hold `desk` from before it can come."""

        async def look() -> Any:
            offers = (await self.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
            return next((one for one in offers if one["id"] not in self._known and one["content"]), None)

        found: dict[str, Any] = await until(f"an offer at {self.name}", look)
        self._known.add(found["id"])
        return found

    async def say(self, offer: str, what: str, body: Any = None) -> dict[str, Any]:
        """accept, decline, arrived, outcome. Raises ApiProblem."""
        answer: dict[str, Any] = await self.partner.post(f"/referral/offers/{offer}/{what}", body)
        return answer

    async def count(self) -> dict[str, Any]:
        """Its places: usable, outside, held, staying, free."""
        found: dict[str, Any] = await self.partner.get(f"/referral/places/{self.place}")
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A house as it is set up: `free` of `usable` places in a province, for whom."""

    key: str
    name: str
    area: str
    usable: int
    eligibility: Mapping[str, Any]
    free: int | None = None
    kind: str = "shelter"


# The province steers who is asked first (nearest, then freest), so that each scene knows its houses. What a house is for
# must rule out everybody who is not meant: nobody else may come before the one that a scene waits at.
PLANS = (
    # Freer than the house for mothers, which takes women too, however many of the three who wait here came before.
    Plan("lotus", "Lotus House", "KH-1", 8, _WOMEN),
    Plan("mothers", "House for mothers", "KH-1", 4, {"needs": [Need.INFANT_CARE]}),
    Plan("riverside", "Riverside House", "KH-2", 4, _WOMEN),
    Plan("garden", "Garden House", "KH-2", 2, _WOMEN),
    Plan("silent", "Night House", "KH-17", 4, _WOMEN),
    Plan("morning", "Morning House", "KH-17", 2, _WOMEN),
    Plan("little", "Little House", "KH-9", 1, _WOMEN),
    Plan("palm", "Palm House", "KH-24", 1, _WOMEN),
    Plan("open", "Open House", "KH-12", 14, _WOMEN),
    Plan("men", "House for men", "KH-12", 3, {"sexes": ["male"], "min_age": 18, "needs": [Need.NURSING]}, free=0),
    Plan("police", "Police post with rooms", "KH-1", 30, {"needs": sorted(Need)}, kind="police"),
)


@dataclass(slots=True)
class Stage:
    """Everybody of one run."""

    network: str
    post: Organisation
    coordinator: Organisation
    houses: dict[str, House]
    # Does a person who shares name the post, too, so that it may know where they are?
    post_is_told: bool = True

    def house(self, key: str) -> House:
        return self.houses[key]

    def name_of(self, organisation: str | None) -> str:
        """None: the sender may not know, because `placement` is not shared with it (any more)."""
        if organisation is None:
            return "(not told)"
        everybody = (self.post, self.coordinator, *self.houses.values())
        return next(one.name for one in everybody if one.id == organisation)


async def found(stack: AsyncExitStack, url: str, admin_key: OKPKey) -> Stage:
    """Found a network with its organisations, places, agreements and need-to-know rules. Raises ApiProblem."""
    admin = await stack.enter_async_context(Partner(url, CLIENT, admin_key, patience_s=PATIENCE_S))
    run = uuid4().hex[:8]
    coordinator, post = await asyncio.gather(
        organisation(stack, admin, run, "Referral desk", "coordination", ["referral:coordinate"]),
        organisation(stack, admin, run, "Border post", "border_post", ["intake:send", "referral:send"]),
    )
    body = {"name": f"Demo {run} (sample)", "coordinator": coordinator.id, "windows": WINDOWS, "sample": True}
    network: str = (await admin.post("/referral/networks", body))["id"]
    await admin.post(f"/referral/networks/{network}/members", {"organisation": post.id})
    await need_to_know(admin, network)
    houses = await asyncio.gather(*(house(stack, admin, admin, run, network, post, plan) for plan in PLANS))
    return Stage(network, post, coordinator, dict(zip((plan.key for plan in PLANS), houses, strict=True)))


async def organisation(stack: AsyncExitStack, admin: Partner, run: str, name: str, kind: str, scopes: list[str],
                       country: str = "KH") -> Organisation:  # fmt: skip
    """Registered, marked as a sample, with a fresh key of its own that is kept nowhere."""
    made = await admin.post(
        "/referral/organisations",
        {
            "name": f"{name} (sample)",
            "type": kind,
            "country": country,
            "law_enforcement": kind == "police",
            "sample": True,
        },
    )
    key = OKPKey.generate_key("Ed25519", auto_kid=True)
    client = f"demo-{run}-{name.lower().replace(' ', '-')}"
    public = public_jwk(key)
    await admin.post(
        "/referral/clients", {"id": client, "organisation": made["id"], "public_key": public, "scopes": scopes}
    )
    return Organisation(
        made["id"], name, await stack.enter_async_context(Partner(admin.url, client, key, patience_s=PATIENCE_S))
    )


async def house(stack: AsyncExitStack, admin: Partner, officer: Partner, run: str, network: str, post: Organisation,
                plan: Plan) -> House:  # fmt: skip
    """With its places, and agreements both ways with the border post, by the holder's officer: what may be sent, and what is
    told back. It lies in the country of its province."""
    country = plan.area.partition("-")[0]
    made = await organisation(stack, admin, run, plan.name, plan.kind, ["referral:receive"], country)
    await admin.post(f"/referral/networks/{network}/members", {"organisation": made.id})
    body = {
        "organisation": made.id, "network": network, "service_types": ["emergency_bed"], "area": plan.area,
        "usable": plan.usable, "eligibility": plan.eligibility,
    }  # fmt: skip
    place = await admin.post("/referral/places", body)
    for sender, recipient in ((post.id, made.id), (made.id, post.id)):
        agreement = {"sender": sender, "recipient": recipient, "categories": _CATEGORIES, "purposes": _PURPOSES}
        await officer.post("/intake/rules/agreements", agreement)
    opened = House(made.id, made.name, made.partner, place["id"])
    if plan.free is not None:
        await open_places(opened, plan.usable, plan.free)
    return opened


async def open_places(house: House, usable: int, more_tonight: int) -> None:
    """The house says how many more people could come tonight. Raises ApiProblem."""
    version = (await house.count())["version"]
    count = {"usable": usable, "more_tonight": more_tonight}
    await house.partner.put(f"/referral/places/{house.place}/count", count, version)


async def need_to_know(officer: Partner, network: str) -> None:
    """The rules for shelters, of this run's network only."""
    for stage, fields in (("offer", OFFER_FIELDS), ("packet", _PACKET), ("placement", PLACEMENT_FIELDS)):
        rule = {"network": network, "group": "shelter", "stage": stage, "fields": list(fields)}
        await officer.post("/intake/rules/need-to-know", rule)
