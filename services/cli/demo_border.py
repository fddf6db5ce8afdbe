"""The demo with a second holder: police in Thailand screen a group and enter it at a holder that they do not run. What
crosses the border is what a corridor of that holder's lets cross."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from joserfc.jwk import OKPKey

from schemas.questions import OrganisationFacts
from schemas.vocabulary import DataCategory, OrganisationStatus, OrganisationType
from services.cli import demo_people as people
from services.cli import demo_stage, holder
from services.cli.bootstrap import CLIENT
from services.cli.client import Partner
from services.cli.demo_day import Day
from services.cli.demo_result import Path
from services.cli.demo_stage import House, Plan, Stage, until
from services.intake.issuing.store import System
from spean.settings import Settings

AREA = "TH-10"
# The person is from Cambodia: the house there is the nearest to where a bed is asked for, and the freest.
_PLANS = (
    Plan("across", "House over the bridge", "KH-1", 8, {"min_age": 18}),
    Plan("here", "House at the harbour", AREA, 4, {"min_age": 18}),
)
# What may cross: enough to take somebody in. What is known of their health stays in the country.
CROSSING = sorted({DataCategory.FUNCTIONAL_NEEDS, DataCategory.IDENTITY, DataCategory.SAFETY})


@dataclass(frozen=True, slots=True)
class Border:
    """The stage beyond the border: the police are the post; `officer` reviews the rules of the second holder, `administrator`
    is the network's, with a token for that holder."""

    stage: Stage
    country: str
    officer: Partner
    administrator: Partner


async def found(stack: AsyncExitStack, stage: Stage, url: str, admin_key: OKPKey, at: Settings) -> Border:
    """A network of its own, with the same coordinator; and at the holder whose settings these are two systems, admitted as
    its operator does it: the officer's, and the police's. Raises ApiProblem, NotAdded, NotRunning."""
    admin = await stack.enter_async_context(Partner(url, CLIENT, admin_key, patience_s=demo_stage.PATIENCE_S))
    run, intake = uuid4().hex[:8], at.holders[at.holder]
    body = {
        "name": f"Demo {run} over a border (sample)", "coordinator": stage.coordinator.id, "windows": demo_stage.WINDOWS,
        "sample": True,
    }  # fmt: skip
    network: str = (await admin.post("/referral/networks", body))["id"]
    police = await demo_stage.organisation(
        stack, admin, run, "Police unit for protection", "police", ["referral:send"], at.country
    )
    ministry = await demo_stage.organisation(stack, admin, run, "Ministry", "ministry", [], at.country)
    await admin.post(f"/referral/networks/{network}/members", {"organisation": police.id})
    officer = await _admitted(stack, at, ministry, OrganisationType.MINISTRY, "intake:rules", network)
    police.partner = await _admitted(stack, at, police, OrganisationType.POLICE, "intake:send", network)
    await demo_stage.need_to_know(officer, network)
    houses = {plan.key: await demo_stage.house(stack, admin, officer, run, network, police, plan) for plan in _PLANS}
    beyond = Stage(network, police, stage.coordinator, houses, post_is_told=False)
    return Border(beyond, at.country, officer, await stack.enter_async_context(admin.at(intake)))


async def _admitted(
    stack: AsyncExitStack,
    at: Settings,
    whose: demo_stage.Organisation,
    type_: OrganisationType,
    scope: str,
    network: str,
) -> Partner:
    """The organisation's system, which signs in at the holder's issuer with the key that it has at the network."""
    facts = OrganisationFacts(
        organisation=UUID(whose.id), type=type_, country=at.country, law_enforcement=type_ is OrganisationType.POLICE,
        status=OrganisationStatus.ACTIVE,
    )  # fmt: skip
    name, networks = whose.partner.client_id, frozenset({UUID(network)})
    await holder.admitted(at, System(name, facts, networks, frozenset({scope}), whose.partner.public_key))
    return await stack.enter_async_context(whose.partner.at(at.holders[at.holder], at.issuer))


async def without_corridor(day: Day, border: Border) -> None:
    path = day.path(people.SOMNANG, "found by police abroad; no corridor yet")
    here, across = day.stage.house("here"), day.stage.house("across")
    entry = await day.agreed(path, people.SOMNANG)
    await day.refused(
        path, "the network's administrator", "reading his entry at a holder that the network does not run",
        border.administrator.get(f"/intake/entries/{entry}"), "bad-token",
    )  # fmt: skip
    handoff, section = await _through(day, path, here, entry)
    day.expect(path, "in the holder's own country the house reads of his health", held="health_notes" in section)
    rules = await _rules(day, handoff)
    day.expect(path, "of the nearer house across the border nothing was told: corridor", held="corridor" in rules)
    offers = (await across.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
    day.expect(path, "the house across the border was not asked", held=not offers)
    day.end(path, f"at {here.name}; nothing of him has left the country")


async def with_corridor(day: Day, border: Border) -> None:
    path = day.path(people.REAKSMEY, "found by police abroad; now there is a corridor")
    corridor = {
        "from_country": border.country, "to_country": "KH", "categories": CROSSING, "legal_basis": "sample: a memorandum",
    }  # fmt: skip
    made = await border.officer.post("/intake/rules/corridors", corridor)
    try:
        await _over_the_border(day, path)
    finally:
        # Corridors are everybody's at a holder: the next run begins without.
        await border.officer.post(f"/intake/rules/corridors/{made['id']}/end")


# The second after the first has ended: one holder's corridors are not different for two people.
SCENES = (without_corridor, with_corridor)


async def _over_the_border(day: Day, path: Path) -> None:
    across = day.stage.house("across")
    entry = await day.agreed(path, people.REAKSMEY)
    handoff, section = await _through(day, path, across, entry)
    day.expect(path, "the house across the border reads who comes", held=section.get("name") == people.REAKSMEY.name)
    day.expect(path, "and of her safety", held="safety_notes" in section)
    day.expect(path, "her health stays in the country", held="health_notes" not in section)
    named = await _rules(day, handoff) & {"corridor", "agreement"}
    day.expect(path, "and no reason tells the police that she has left it", held=not named)
    day.end(path, f"over the border, at {across.name}")


async def _through(day: Day, path: Path, house: House, entry: str) -> tuple[str, dict[str, Any]]:
    """Asked for, offered to this house first, accepted, read, arrived. Returns the hand-off and what the packet told."""
    handoff, offer = await day.placed(path, house, entry, area="KH-1")

    async def code() -> Any:
        return (await day.shown(handoff))["hand_over_code"]

    await until("the hand-over code", code)
    path.reached("ready")
    shown = await day.shown(handoff)
    told = (shown["state"], shown["receiver"], shown["meeting_point"])
    day.expect(path, "the police are told that it is answered, and not by whom", held=told == ("answered", None, None))
    section = (await day.packet(path, house, offer))[0]
    await day.arrives(path, house, offer, shown["hand_over_code"])
    return handoff, section


async def _rules(day: Day, handoff: str) -> set[str]:
    """By which rules the gate has refused anything of this hand-off."""
    found = (await day.stage.post.partner.get(f"/intake/handoffs/{handoff}/disclosures"))["disclosures"]
    return {rule for one in found for rule in one["refused"].values()}
