"""What an offer leaves out because too few of the people now with the holder share it: counted, decided once, told why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas.vocabulary import Need, Sex
from services.intake.cases.domain import PersonFields
from services.intake.disclosure import crowd, rarity
from tests.builders import World, eventually
from tests.integration.holder import (  # noqa: F401 (fixtures)
    Case,
    Holder,
    shared_world,
)

# Nobody else's in this installation.
NEEDS, OTHER_NEEDS = ["male_staff", "nursing"], ["high_security", "male_staff"]
SPOKEN = ["kxm"]
FULL = {"age_band": "adult", "sex": "female", "needs": NEEDS, "languages": SPOKEN}
LEAST = {"age_band": None, "sex": None, "needs": NEEDS, "languages": None}


async def met(world: World, **person: Any) -> str:
    """Somebody with an open case."""
    return await world.ready_person(**{"needs": NEEDS, "languages": SPOKEN, **person})


async def count(world: World) -> None:
    """As the clock does."""
    await world.made.services["intake"].due[crowd.DUE](UUID(int=0))


async def offered(world: World, *entries: str, **more: Any) -> Case:
    holder = Holder(world)
    case = Case(holder, await holder.house(), list(entries), await holder.requested(*entries, **more))
    await asked(case)
    return case


async def asked(case: Case) -> None:
    """The house may be asked."""
    assert await case.holder.next_candidate(case.handoff, case.house, needs=list(Need)) == case.house.id


async def shown(case: Case) -> list[dict[str, Any]]:
    """What the house sees, once what was decided with the offer is written down: the answer leaves before."""

    async def decided() -> bool:
        async with case.holder.world.made.services["intake"].db.transaction("test.decided") as tx:
            return bool(await crowd.left_out(tx, [UUID(case.handoff)]))

    await eventually(decided)
    members: list[dict[str, Any]] = (await case.content())["members"]
    return members


@pytest.fixture(scope="module")
async def alike(world: World) -> list[str]:
    """As many as have to be alike."""
    people = [await met(world) for _ in range(5)]
    await count(world)
    return people


async def test_what_enough_people_share_is_shown(world: World, alike: list[str]) -> None:
    assert await shown(await offered(world, alike[0])) == [FULL]


async def test_the_order_in_which_it_was_written_down_tells_nobody_apart(world: World, alike: list[str]) -> None:
    """Only one of those who look the same was written down like that, and one need twice."""
    assert await shown(await offered(world, await met(world, needs=[*reversed(NEEDS), NEEDS[0]]))) == [FULL]


async def test_what_too_few_share_is_left_out_and_the_sender_is_told_why(world: World, alike: list[str]) -> None:
    case = await offered(world, await met(world, languages=["zha"]))
    assert await shown(case) == [{**FULL, "languages": None}]

    async def told() -> Any:
        found = (await case.sender.get(f"/intake/handoffs/{case.handoff}/disclosures"))["disclosures"]
        return found and (found[-1]["allowed"], found[-1]["refused"])

    assert await eventually(told) == (["age_band", "needs", "sex"], {"languages": "rare"})
    assert (await case.packet())["members"][0]["languages"] == ["zha"], "nothing is left out of a packet"


async def test_who_is_alone_shows_what_a_house_must_know_and_no_more(world: World, alike: list[str]) -> None:
    old = await offered(world, await met(world, age_years=70, sex="male"))
    assert await shown(old) == [LEAST]
    entry = await world.entry(age_years=0, needs=NEEDS, languages=SPOKEN)
    for decision in ("service", "share_referral"):
        await world.consent(entry, decision, guardian={"relationship": "state_guardian", "expressed": "written"})
    await world.sender.partner.post(f"/intake/entries/{entry}/case")
    assert await shown(await offered(world, entry)) == [{**LEAST, "age_band": "infant"}]
    elsewhere = await offered(world, alike[3], area="TH-27")
    assert await shown(elsewhere) == [LEAST], "nobody else is to be helped there"


async def test_people_who_move_together_are_counted_among_parties(world: World, alike: list[str]) -> None:
    assert await shown(await offered(world, *alike[1:3])) == [LEAST, LEAST]


async def test_an_offer_goes_on_showing_the_same_until_the_person_is_described_otherwise(world: World) -> None:
    """Whoever reads it again, or is asked next, learns of nobody who has come meanwhile."""
    entry = await met(world, languages=["jra"])
    case = await offered(world, entry)
    before = await shown(case)
    assert before[0]["languages"] is None
    for _ in range(4):
        await met(world, languages=["jra"])
    await count(world)
    assert await shown(case) == before
    case.house = await case.holder.house()
    await asked(case)
    assert await shown(case) == before
    assert (await shown(await offered(world, entry, service_type="medium_term_shelter")))[0]["languages"] == ["jra"]

    path = f"/intake/entries/{entry}"
    read = await case.sender.request("GET", path)
    corrected = {**read.json()["person"], "age_years": 25}
    await case.sender.request("PUT", f"{path}/person", corrected, headers={"If-Match": read.headers["etag"]})
    assert (await case.content())["members"] == [LEAST], "nothing is decided yet"
    await asked(case)
    assert (await shown(case))[0]["languages"] == ["jra"]


async def test_a_count_that_is_old_or_too_small_by_now_is_none(world: World, alike: list[str]) -> None:
    person = PersonFields(age_years=30, sex=Sex.FEMALE, needs=(Need.NURSING, Need.MALE_STAFF), languages=("kxm",))
    looks = rarity.looks([person], "KH-1")

    async def steps(change: str, *values: Any) -> int:
        """Nothing of the change stays."""
        async with world.made.services["intake"].db.transaction("test.crowd") as tx:
            change_alone = tx.conn.transaction()
            await change_alone.start()
            await tx.conn.execute(change, *values)
            found = await crowd.would_leave_out(tx, looks)
            await change_alone.rollback()
        return found

    assert await steps("select 1") == 0
    old = "update crowd set counted_at = counted_at - $1::interval"
    assert await steps(old, crowd.FRESH - timedelta(minutes=10)) == 0
    assert await steps(old, crowd.FRESH) == rarity.STEPS
    assert await steps("insert into crowd_limit values (now() - interval '1 minute', 1000, 'test')") == rarity.STEPS


async def test_who_was_erased_is_nobodys_crowd_and_who_stands_out_is_not_written_down(world: World) -> None:
    people = [await met(world, needs=OTHER_NEEDS) for _ in range(5)]
    fields = PersonFields(age_years=24, sex=Sex.FEMALE, needs=(Need.HIGH_SECURITY, Need.MALE_STAFF), languages=("kxm",))
    full = rarity.look([fields], "KH-1", 0)

    async def counted() -> int | None:
        await count(world)
        async with world.made.services["intake"].db.transaction("test.crowd") as tx:
            found: int | None = await tx.conn.fetchval("select people from crowd where look = $1", full)
        return found

    assert await counted() == 5
    await world.sender.partner.post(f"/intake/entries/{people[0]}/erase", {"why": "person_asked"})

    async def gone() -> bool:
        return await counted() is None

    await eventually(gone)
