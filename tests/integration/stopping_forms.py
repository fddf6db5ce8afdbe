"""Every form of stopping: what a person, a sender, an officer, an administrator or the clock does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from services.cli.client import ApiProblem
from tests.integration import stopping_scene as scenes
from tests.integration.stopping_scene import Cell, Scene, Setting, Stage

GUARDIAN = {"relationship": "state_guardian", "expressed": "written"}
SHELTERS = {"type": "shelter"}
# Of those whom it was refused to, the code; of all others nothing.
Refused = dict[Stage, str]


@dataclass(frozen=True)
class Form:
    """`name`: in words; `stop` does it to everybody of a scene. `during` holds while it is done and looked at."""

    key: str
    name: str
    stop: Callable[[Scene], Awaitable[Refused]]
    setting: Setting = field(default_factory=Setting)
    during: str = ""


def each(act: Callable[[Scene, Cell], Awaitable[Any]]) -> Callable[[Scene], Awaitable[Refused]]:
    """The same for each person, one after the other."""

    async def stop(scene: Scene) -> Refused:
        refused: Refused = {}
        for cell in scene.cells.values():
            try:
                await act(scene, cell)
            except ApiProblem as problem:
                refused[cell.stage] = problem.code
        return refused

    return stop


def once(act: Callable[[Scene], Awaitable[Any]]) -> Callable[[Scene], Awaitable[Refused]]:
    """For all of them at once."""

    async def stop(scene: Scene) -> Refused:
        await act(scene)
        return {}

    return stop


def withdraw(what: str = "sharing", **part: Any) -> Callable[[Scene], Awaitable[Refused]]:
    async def act(scene: Scene, cell: Cell) -> None:
        await scene.sender.post(f"/intake/entries/{cell.entry}/withdraw", {"what": what, **part})

    return each(act)


def exclude(kind: str, value: str = "", **more: str) -> Callable[[Scene], Awaitable[Refused]]:
    async def act(scene: Scene, cell: Cell) -> None:
        body = {"kind": kind, "value": value or scene.first.id, **more}
        await scene.sender.post(f"/intake/entries/{cell.entry}/exclusions", body)

    return each(act)


async def _take_back_house(scene: Scene, cell: Cell) -> None:
    await scene.sender.post(f"/intake/entries/{cell.entry}/withdraw", {"what": "sharing", "recipient": scene.first.id})


async def _cancel(scene: Scene, cell: Cell) -> None:
    await scene.sender.post(f"/intake/handoffs/{cell.handoff}/cancel")


async def _erase(scene: Scene, cell: Cell) -> None:
    await scene.sender.post(f"/intake/entries/{cell.entry}/erase", {"why": "person_asked"})


async def _end_basis(scene: Scene, cell: Cell) -> None:
    await scene.sender.post(f"/intake/entries/{cell.entry}/bases/{cell.basis}/end")


async def _end_agreement(scene: Scene) -> None:
    await scene.world.admin.post(f"/intake/rules/agreements/{scene.rules['agreement']}/end")


async def _agreement_is_over(scene: Scene) -> None:
    await scenes.time_of_rule_is_over(scene, "agreement", scene.rules["agreement"])


async def _end_corridor(scene: Scene) -> None:
    await scene.world.admin.post(f"/intake/rules/corridors/{scene.rules['corridor']}/end")


async def _change_rule(scene: Scene) -> None:
    """From now on such a house needs to know less once it has accepted: no health."""
    path = "/intake/rules/need-to-know"
    fields = [name for name in scene.whole if name != "health_notes"]
    body = {"network": scene.world.network, "group": "shelter", "stage": "packet", "fields": fields}
    await scene.world.admin.post(path, body)
    await scene.world.admin.post(f"{path}/{scene.rules['packet']}/end")


def suspend(which: str) -> Callable[[Scene], Awaitable[Refused]]:
    async def act(scene: Scene) -> None:
        organisation = scene.first if which == "first" else scene.world.sender
        await scene.world.admin.post(f"/referral/organisations/{organisation.id}/suspend")

    return once(act)


async def _nobody(_: Scene) -> None:
    """Nobody stops."""


_VITAL = Setting(agrees=False, basis={"kind": "vital_interest"})
_GIRL = Setting(person={"age_years": 15}, guardian=GUARDIAN)

FORMS = [
    Form("sharing", "Sharing is withdrawn", withdraw()),
    Form("house", "One organisation is taken back: this house", each(_take_back_house)),
    Form("class", "A class is taken back: all shelters", withdraw(**{"class": SHELTERS})),
    Form("needs", "A category is taken back that every offer needs: functional needs", withdraw(category="functional_needs")),
    Form("health", "Another category is taken back: health", withdraw(category="health")),
    Form("referral", "The purpose “referral” is taken back", withdraw(purpose="referral")),
    Form("provision", "The purpose “providing the service” is taken back", withdraw(purpose="service_provision")),
    Form("never-house", "Never this organisation", exclude("organisation")),
    Form("never-type", "Never organisations of this type", exclude("organisation_type", "shelter")),
    Form("never-police", "Never law enforcement (the house is one)", exclude("law_enforcement", "any"),
         Setting(named=True, house={"law_enforcement": True})),
    Form("never-official", "Never an official of this house", exclude("official", name="An Official")),
    Form("expired", "Consent comes to its end", once(scenes.time_of_consent_is_over),
         Setting(sharing={"valid_until": "2040-01-01T00:00:00Z"})),
    Form("of-age", "They come of age: the guardian's consent ends", once(scenes.come_of_age), _GIRL),
    Form("lapsed", "What stood in for consent lapses: nobody confirmed it in time", once(scenes.time_to_decide_is_over), _VITAL),
    Form("basis-ended", "What stood in for consent is taken back", each(_end_basis), _VITAL),
    Form("agreement-ended", "The agreement with this house is ended", once(_end_agreement)),
    Form("agreement-over", "The agreement with this house comes to its end", once(_agreement_is_over)),
    Form("corridor", "The corridor to this house's country is ended", once(_end_corridor), Setting(country="TH")),
    Form("rule", "A rule changes: such houses need to know less", once(_change_rule)),
    Form("service", "The service is withdrawn", withdraw("service")),
    Form("cancel", "The sender cancels", each(_cancel)),
    Form("receiver", "This house is suspended", suspend("first")),
    Form("sender", "The sender is suspended", suspend("sender")),
    Form("erase", "Erasure is asked for", each(_erase)),
    Form("key-store", "Sharing is withdrawn while the key store is silent", withdraw(), during="key store"),
    Form("holder", "Nobody stops, and the holder does not answer", once(_nobody), during="holder"),
]  # fmt: skip
