"""Staff of one organisation who decide in place of somebody's consent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from services.cli.client import Partner
from tests.builders import World, eventually, second_system
from tests.integration.holder import Case, Holder, database

WHY = "She was found alone tonight, and her uncle is the one who sold her."
GUARDIAN = {"relationship": "state_guardian", "expressed": "written"}


@dataclass
class Staff:
    """A person's bases, as three systems of one organisation work on them."""

    world: World
    entry: str
    first: Partner
    second: Partner
    third: Partner

    async def propose(self, kind: str, by: Partner | None = None, **more: Any) -> str:
        recipients = {"classes": [{"type": "shelter"}], "organisations": [self.world.sender.id]}
        named = {"acting_for": (by or self.first).client_id}
        body = {"kind": kind, "justification": WHY, "recipients": recipients, **named, **more}
        made = await (by or self.first).post(f"/intake/entries/{self.entry}/bases", body)
        return str(made["id"])

    async def decide(self, basis: str, by: Partner, *, agrees: bool = True, named: str | None = "") -> str:
        """`named`: whom the system acts for; usually each for somebody of their own, None for nobody."""
        whom = by.client_id if named == "" else named
        body = {"agrees": agrees, "reasons": "I spoke with her and read the file.", "acting_for": whom}
        return str((await by.post(f"/intake/entries/{self.entry}/bases/{basis}/decide", body))["state"])

    async def agreed(self, kind: str, **more: Any) -> str:
        """Proposed, and in force because a second person has agreed."""
        basis = await self.propose(kind, **more)
        assert await self.decide(basis, self.second) == "in_force"
        return basis

    async def end(self, basis: str) -> str:
        return str((await self.second.post(f"/intake/entries/{self.entry}/bases/{basis}/end"))["state"])

    async def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.first.get(f"/intake/entries/{self.entry}/bases"))["bases"]
        return found

    async def waiting(self, of: Partner | None = None) -> dict[str, list[dict[str, Any]]]:
        """What waits for the organisation about this person."""
        system = of or self.first
        found = await system.get(f"/intake/bases/waiting?acting_for={system.client_id}")
        return {name: [one for one in some if one["entry"] == self.entry] for name, some in found.items()}

    async def late(self, basis: str, column: str = "decide_by") -> None:
        """Its time is over, and the clock has not looked yet."""
        async with database(self.world) as db, db.transaction():
            await db.execute("delete from due where subject = $1", basis)
            await db.execute(f"update basis set {column} = clock_timestamp() where id = $1", basis)

    async def clock(self, basis: str) -> None:
        """The clock is called for it now."""
        async with database(self.world) as db:
            await db.execute("insert into due (kind, subject, at) values ('basis', $1, now())", basis)

    async def state(self, basis: str, state: str) -> None:
        async def reached() -> bool:
            return any(one["id"] == basis and one["state"] == state for one in await self.all())

        await eventually(reached)


@pytest.fixture(scope="module", name="systems")
async def two_systems(world: World) -> tuple[Partner, Partner]:
    return (
        await second_system(world, world.sender, ["intake:send"]),
        await second_system(world, world.sender, ["intake:send"]),
    )


@pytest.fixture(name="staff")
def staff_of_one(world: World, systems: tuple[Partner, Partner]) -> Any:
    async def made(**person: Any) -> Staff:
        return Staff(world, await world.entry(**person), world.sender.partner, *systems)

    return made


@pytest.fixture(name="girl")
async def girl_of_fifteen(staff: Any) -> Staff:
    """Fifteen; she has agreed to both, and nobody stands by her."""
    found: Staff = await staff(age_years=15, name="Girl", health_notes="asthma")
    await found.world.consent(found.entry, "service")
    await found.world.consent(found.entry, "share_referral")
    return found


MOST = {"categories": ["functional_needs", "identity"], "purposes": ["referral", "service_provision"]}


async def case_of(staff: Staff) -> Case:
    """Their packet was read by a house, under what stands in for consent."""
    await staff.first.post(f"/intake/entries/{staff.entry}/case")
    holder = Holder(staff.world)
    return await holder.released(await holder.house(), staff.entry)
