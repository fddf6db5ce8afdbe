"""A network played by two holders, with everybody in it and everything agreed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from contextlib import AsyncExitStack

import httpx
from hypothesis import strategies as st

from schemas.rights import StaffRole
from services.cli.client import Partner
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from spean.sealing import PrivateKey, Suite
from tests.builders import CATEGORIES, PURPOSES, World, agreed, network_in, organisation, second_system
from tests.builders import Organisation as Registered
from tests.integration import staff
from tests.integration.leaving import CODES, TEXTS, House, Person, Side, mark, marked
from tests.integration.naive_gate import Organisation, Rules, Said
from tests.integration.played import Played
from tests.integration.two_lands import COUNTRY, HERE, THERE, Lands

ABROAD = "A house abroad"
HOUSES = (("A house here", "shelter", "KH"), (ABROAD, "shelter", "TH"), ("A police station", "police", "KH"))
STAGES = {"offer": OFFER_FIELDS, "packet": PACKET_FIELDS, "placement": PLACEMENT_FIELDS}


def mostly(codes: list[str]) -> st.SearchStrategy[list[str]]:
    """All of them, or some."""
    return st.one_of(st.just(codes), st.lists(st.sampled_from(codes), unique=True, min_size=1)).map(list)


CLASSES = st.sampled_from([
    [], [{"type": "shelter", "country": None}], [{"type": "shelter", "country": "KH"}], [{"type": None, "country": "TH"}],
    [{"type": None, "country": None}], [{"type": "shelter", "country": "KH"}, {"type": "border_post", "country": None}],
])  # fmt: skip
PARTS = st.fixed_dictionaries({
    "categories": mostly(CATEGORIES), "purposes": mostly(PURPOSES), "classes": CLASSES,
    "organisations": st.sampled_from([[-1], [-1, 2], [0, -1], [1], [-1, 0, 1, 2]]),
})  # fmt: skip


async def founded(lands: Lands, stack: AsyncExitStack, told: Counter[str]) -> Played:
    """At each holder a border post that has met a grown-up and a girl; three houses, one of them the police."""
    world = await stack.enter_async_context(network_in(lands.made, lands.made.settings))
    played = Played(lands, told, network=world.network, admin=world.admin)
    for holder in COUNTRY:
        played.sides[holder] = await _side(played, world, stack, holder)
    stack.push_async_callback(played.end)
    for name, type_, country in HOUSES:
        await _house(played, world, name, type_, country)
    for side, there in ((played.sides[HERE], "TH"), (played.sides[THERE], "KH")):
        await played.corridor(side, there, list(CATEGORIES))
    for side in played.sides.values():
        for age in (24, 15):
            await met(played, side, age)
    coordinator = Organisation(world.coordinator.id, "coordination", "KH")
    played.watch(world.coordinator.partner, coordinator)
    played.watch(world.admin, coordinator)  # both are of the network, and of no person's
    played.lookers = [*(side.here for side in played.sides.values()), *(one.partner for one in played.houses),
                      world.coordinator.partner, world.admin]  # fmt: skip
    await _stream(played, world.coordinator.partner, stack)
    return played


async def _side(played: Played, world: World, stack: AsyncExitStack, holder: str) -> Side:
    rules, country = Rules(country=COUNTRY[holder]), COUNTRY[holder]
    if holder == HERE:
        sender, second, admin = world.sender, await second_system(world, world.sender, ["intake:send"]), world.admin
        for rule in (await admin.get("/intake/rules/need-to-know"))["rules"]:
            if rule["network"] == world.network and rule["service_group"] == "shelter":
                rules.needed[rule["stage"]][rule["id"]] = rule["fields"]
    else:
        address = played.lands.address(holder)
        admin = await stack.enter_async_context(world.admin.at(address))
        made = await organisation(
            world.admin,
            stack,
            world.made.url,
            "Border post there",
            "border_post",
            ["intake:send", "referral:send"],
            country,
        )
        await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": made.id})
        second = await stack.enter_async_context((await second_system(world, made, ["intake:send"])).at(address))
        sender = Registered(made.id, made.name, await stack.enter_async_context(made.partner.at(address)))
        for stage, fields in STAGES.items():
            body = {"network": world.network, "group": "shelter", "stage": stage, "fields": list(fields)}
            rules.needed[stage][(await admin.post("/intake/rules/need-to-know", body))["id"]] = list(fields)
    facts = Organisation(sender.id, "border_post", country)
    for partner in (sender.partner, second):
        partner.patience_s = 30
        played.watch(partner, facts)
    cookie = await _signed_in(played, sender, StaffRole.SENDER) if holder == HERE else ""
    return Side(holder, facts, sender.partner, second, admin, rules, cookie=cookie)


async def _house(played: Played, world: World, name: str, type_: str, country: str) -> None:
    made = await world.organisation(name, type_, ["referral:receive"], country=country)
    made.partner.patience_s = 30
    facts = Organisation(made.id, type_, country)
    played.watch(made.partner, facts)
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": made.id})
    if type_ == "shelter" and country == "KH":
        await world.admin.post("/notify/addresses", {"organisation": made.id, "email": f"{made.id}@example.org"})
    body = {"organisation": made.id, "network": world.network, "service_types": ["emergency_bed"], "area": "KH-1",
            "usable": 40, "eligibility": {"needs": ["interpreter"]}}  # fmt: skip
    await world.admin.post("/referral/places", body)
    house = House(facts, made.partner)
    played.houses.append(house)
    played.names[made.id] = name
    if name == ABROAD:
        house.seals = await _sealing(world, made)
    elif type_ == "shelter":
        house.cookie = await _signed_in(played, made, StaffRole.RECEIVER)
    for side in played.sides.values():
        for one, other in ((side.sender.id, made.id), (made.id, side.sender.id)):
            await played.agreement(side, one, other, list(CATEGORIES), list(PURPOSES))


async def _signed_in(played: Played, made: Registered, role: StaffRole) -> str:
    """The cookie of somebody of theirs."""
    installed = played.lands.made
    return (await staff.set_up(installed, await staff.hired(installed, made.id, role)))[1].cookie


async def _sealing(world: World, made: Registered) -> PrivateKey:
    """A key of the house's system: packets leave sealed to it, and no page shows them."""
    own = PrivateKey(Suite.X25519, secrets.token_bytes(32))
    added = await world.admin.post(f"/referral/clients/{made.partner.client_id}/keys", {"public_key": own.public.jwk})
    await agreed(world, added, made.partner)
    return own


async def met(played: Played, side: Side, age: int) -> Person:
    """Somebody of that age, whose every text is marked, and who agrees to everything."""
    number = marked()
    texts = {name: mark(number, name) for name in TEXTS}
    lists = {name: [texts[name]] for name in ("exploitation", "means_of_control")}
    met = {"channel": "border_post", "area": "KH-1",
           "person": {**CODES, **texts, **lists, "safety_notes": texts["safety_notes"], "age_years": age}}  # fmt: skip
    entry = str((await side.here.post("/intake/entries", met))["id"])
    person = Person(entry, number, Said(minor=age < 18), side)
    played.people.append(person)
    await played.agree_to_everything(person)
    return person


async def _stream(played: Played, watcher: Partner, stack: AsyncExitStack) -> None:
    """Whatever is streamed to the coordinator is kept until the end."""
    headers = {"Authorization": f"Bearer {await watcher.token()}"}

    async def read() -> None:
        async with (
            httpx.AsyncClient(base_url=played.lands.made.url, timeout=None) as client,  # noqa: S113 (it goes on)
            client.stream("GET", "/notify/changes", headers=headers) as response,
        ):
            async for piece in response.aiter_text():
                played.streamed.append(piece)

    task = asyncio.create_task(read())

    async def ended() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            await task

    stack.push_async_callback(ended)
