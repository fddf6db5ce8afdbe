"""What the border post does for a person, as the demo's scenes say it: interview, consent, hand-off, and the house's side."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.vocabulary import DataCategory, Purpose
from services.cli.client import ApiProblem
from services.cli.demo_people import Person
from services.cli.demo_result import Expectation, Path, Refusal, Result
from services.cli.demo_stage import House, Stage, until

Tell = Callable[[Path], object]
# What people share when they agree to all that a house needs; what is known of the recruiter stays.
SHARED = sorted(set(DataCategory) - {DataCategory.ALLEGED_OFFENDER, DataCategory.DOCUMENTS_PHOTO})
_OFFER_KEYS = {"age_band", "sex", "needs", "languages"}
_PARENT = {"relationship": "parent", "expressed": "spoken"}


@dataclass(slots=True)
class Day:
    """One run: its stage, the screened entry of each person, and what it has found so far."""

    stage: Stage
    entries: dict[str, str]
    result: Result
    tell: Tell
    began: float = field(default_factory=time.monotonic)

    def path(self, person: Person, story: str) -> Path:
        made = Path(person.name, story, self.began)
        self.result.paths.append(made)
        return made

    def step(self, path: Path, what: str) -> None:
        path.tell(self.tell, what)

    def end(self, path: Path, how: str) -> None:
        path.ended = how
        self.step(path, how)

    def expect(self, path: Path, what: str, *, held: bool) -> None:
        self.result.expectations.append(Expectation(path.person, what, held))

    async def refused(self, path: Path, who: str, what: str, attempt: Awaitable[Any], code: str) -> None:
        """The attempt must be refused with this code. Raises ApiProblem where it is refused for another reason."""
        try:
            await attempt
        except ApiProblem as problem:
            if problem.code != code:
                raise
            detail = str(problem.problem.get("detail", ""))
            self.result.refusals.append(Refusal(path.person, who, what, code, problem.rule, detail))
            self.expect(path, f"{what} is refused: {code}", held=True)
            self.step(path, f"{what}: refused ({code})")
        else:
            self.expect(path, f"{what} is refused: {code}", held=False)

    # --- the border post ----------------------------------------------------------------------------------------

    async def interview(self, path: Path, person: Person) -> str:
        """A talk alone: what the person says is added to the screened entry. Returns the entry."""
        entry = self.entries[person.name]
        partner = self.stage.post.partner
        known = await partner.get(f"/intake/entries/{entry}")
        said = {"languages": ["khm"], **known["person"], "name": person.name, **person.details}
        await partner.put(f"/intake/entries/{entry}/person", said, known["version"])
        self.step(path, f"{_whom(path, person)}met alone")
        return entry

    async def consent(self, entry: str, decision: str, state: str = "given", *, by_name: tuple[str, ...] = (),
                      parent: bool = False) -> None:  # fmt: skip
        """Talked through and recorded. Sharing goes to shelters as a class, to the post itself where it is told,
        and to whom is named."""
        body: dict[str, Any] = {
            "decision": decision, "state": state, "expressed": "spoken", "language": "khm", "notice": "1-khm",
            "guardian": _PARENT if parent else None,
        }  # fmt: skip
        if decision == "share_referral" and state == "given":
            named = [self.stage.post.id, *by_name] if self.stage.post_is_told else list(by_name)
            body |= {
                "categories": SHARED, "purposes": sorted(Purpose),
                "recipients": {"classes": [{"type": "shelter"}], "organisations": named},
            }  # fmt: skip
        await self.stage.post.partner.post(f"/intake/entries/{entry}/consents", body)

    async def open_case(self, entry: str) -> None:
        await self.stage.post.partner.post(f"/intake/entries/{entry}/case")

    async def agreed(self, path: Path, person: Person, *, by_name: tuple[str, ...] = (), parent: bool = False) -> str:
        """Met, both consents given, case open. Returns the entry."""
        entry = await self.interview(path, person)
        await self.consent(entry, "service", parent=parent)
        await self.consent(entry, "share_referral", by_name=by_name, parent=parent)
        await self.open_case(entry)
        self.step(path, f"{_whom(path, person)}agrees to the service and to sharing, case opened")
        return entry

    async def ask(self, path: Path, *entries: str, area: str, urgency: str = "emergency") -> str:
        """Request a bed for everybody of the party. Returns the hand-off."""
        body = {
            "network": self.stage.network, "service_type": "emergency_bed", "urgency": urgency, "area": area,
            "members": list(entries),
        }  # fmt: skip
        made = await self.stage.post.partner.post("/intake/handoffs", body)
        path.handoff, path.requested = made["id"], time.monotonic()
        self.step(path, f"{len(entries)} bed{'s' if len(entries) > 1 else ''} asked for in {area}")
        return str(made["id"])

    async def shown(self, handoff: str) -> dict[str, Any]:
        """The hand-off as its sender may see it."""
        found: dict[str, Any] = await self.stage.post.partner.get(f"/intake/handoffs/{handoff}")
        return found

    async def state(self, handoff: str, *states: str) -> dict[str, Any]:
        """Wait until the sender sees one of these states."""

        async def look() -> Any:
            shown = await self.shown(handoff)
            return shown if shown["state"] in states else None

        found: dict[str, Any] = await until(f"state {' or '.join(states)}", look)
        return found

    # --- the house ----------------------------------------------------------------------------------------------

    async def offered(self, path: Path, house: House) -> str:
        """Wait for the next offer at a house (hold its desk) and look at what it says. Returns the offer."""
        offer = await house.next_offer()
        path.reached("offered")
        members = offer["content"]["members"]
        coarse = bool(members) and all({key for key, value in one.items() if value} <= _OFFER_KEYS for one in members)
        self.expect(path, f"{house.name} is shown coarse bands only before it accepts", held=coarse)
        self.step(path, f"offered to {house.name}")
        return str(offer["id"])

    async def accept(self, path: Path, house: House, offer: str) -> None:
        await house.say(offer, "accept")
        path.reached("accepted")
        self.step(path, f"{house.name} accepts")

    async def ready(self, path: Path, handoff: str) -> str:
        """Wait until the person may set out. Returns the hand-over code."""
        shown = await self.state(handoff, "ready")
        path.reached("ready")
        self.step(path, "ready: a hand-over code for the person")
        return str(shown["hand_over_code"])

    async def packet(self, path: Path, house: House, offer: str) -> list[dict[str, Any]]:
        """The house reads the packet: one section per member."""
        members: list[dict[str, Any]] = (await house.partner.packet(offer))["members"]
        fields = sorted({name for member in members for name in member})
        self.step(path, f"{house.name} reads the packet: {', '.join(fields) or 'nothing'}")
        return members

    async def placed(self, path: Path, house: House, *entries: str, area: str) -> tuple[str, str]:
        """Asked for, offered to this house first, accepted. Returns hand-off and offer."""
        async with house.desk:
            handoff = await self.ask(path, *entries, area=area)
            offer = await self.offered(path, house)
        await self.accept(path, house, offer)
        return handoff, offer

    async def arrives(self, path: Path, house: House, offer: str, code: str | None) -> None:
        body = {} if code is None else {"code": code}
        answer = await house.say(offer, "arrived", body)
        path.reached("arrived")
        self.expect(path, "the arrival is recorded", held=answer["referral_state"] == "in-progress")
        self.step(path, f"arrives at {house.name} {'without the code' if code is None else 'with the code'}")


def _whom(path: Path, person: Person) -> str:
    """Names somebody else of the party."""
    return "" if person.name == path.person else f"{person.name}: "
