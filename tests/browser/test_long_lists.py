"""With many partners each page stays light, and each of them can still be found and chosen."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest

from schemas.rights import StaffRole
from spean.names import place_of
from spean.web import lists
from tests.browser import meeting
from tests.browser.administering import ADMIN, rows
from tests.browser.test_weights import LATER_MOST
from tests.browser.visiting import Screen, Walker, walker
from tests.builders import World, eventually

MANY = 150
PEOPLE = "/referral/pages/people"
# What travels with a page beside it: its heads.
_HEADS = 1_000
_WORDS = """
ភូមិ សុវត្ថិភាព មេគង្គ ទន្លេ ផ្ទះ ស្ត្រី កុមារ សង្ឃឹម ព្រៃ ខ្មែរ ជួយ ថ្មី កំពង់ សាលា
ដៃ គូ Lotus River Hope
"""


@dataclass
class Crowd:
    """`mark` is in every name, and in no other."""

    mark: str
    names: dict[UUID, str]

    @property
    def last(self) -> tuple[UUID, str]:
        """The one that stands behind all others in a list."""
        return max(self.names.items(), key=lambda one: place_of(one[1]))


@pytest.fixture
async def crowd(world: World) -> Crowd:
    """Many organisations, each in the network with a person, a system, places and a line of history."""
    mark, chance = f"t{uuid4().hex[:7]}", random.Random(7)  # noqa: S311 (names, not secrets)
    names = {
        uuid4(): f"{' '.join(chance.sample(_WORDS.split(), 4))} {chance.randrange(16**8):08x} {mark} {number:03}"
        for number in range(MANY)
    }
    await rows(
        world,
        """
        with given as (select * from unnest($1::uuid[], $2::text[]) as one (id, name)),
        made as (insert into organisation (id, name, type, country, law_enforcement, sample)
                 select id, name, 'shelter', 'KH', false, true from given returning id, name),
        joins as (insert into member (network, organisation) select $3, id from made),
        staff as (insert into person (id, organisation, name, sign_in_name, language, roles, status, created_at)
                  select gen_random_uuid(), id, 'Person ' || right(name, 3), $4 || '.' || right(name, 3), 'km',
                         '{receiver}', 'active', now() from made),
        systems as (insert into client (id, organisation, scopes) select $4 || '-' || right(name, 3), id, '{}' from made)
        insert into change (at, by, what, organisation, detail)
        select now(), 'operator', 'organisation-registered', id, '{}' from made returning number
        """,
        list(names), list(names.values()), UUID(world.network), mark,
    )  # fmt: skip
    return Crowd(mark, names)


@pytest.fixture
async def clerk(world: World) -> AsyncIterator[Walker]:
    async with walker(world, world.coordinator, StaffRole.ADMINISTRATOR, StaffRole.OFFICER, language="km") as found:
        yield found


async def light(walker: Walker, path: str) -> Screen:
    """The page, which is not too heavy."""
    page = await walker.get(path)
    assert page.status == 200, path
    assert page.bytes + _HEADS < LATER_MOST, (path, page.bytes)
    return page


async def test_every_list_is_light_and_leads_to_everybody(world: World, crowd: Crowd, clerk: Walker) -> None:
    for path in ("", "/history", "/networks/new", f"/networks/{world.network}/coordinator", "/organisations/new"):
        await light(clerk, ADMIN + path)
    await light(clerk, f"{PEOPLE}/new")
    await light(clerk, f"{PEOPLE}/history")
    for path in ("/organisations", "/places", "/systems", f"/networks/{world.network}"):
        page = await light(clerk, ADMIN + path)
        found = set(page.links)
        while more := [link for link in page.links_to if "after=" in link]:
            page = await light(clerk, more[0])
            assert not found & {name for name in page.links if crowd.mark in name}, "nothing twice"
            found |= set(page.links)
        listed = {name[-3:] for name in found if crowd.mark in name}
        assert len(listed) == MANY, path
        _, name = crowd.last
        page = await light(clerk, f"{ADMIN}{path}?{urlencode({'q': f'{crowd.mark} {name[-3:]}'.upper()})}")
        assert {one[-3:] for one in page.links if crowd.mark in one} == {name[-3:]}, path


async def test_people_are_found_and_nothing_typed_is_in_an_address(crowd: Crowd, clerk: Walker) -> None:
    page, number = await light(clerk, PEOPLE), crowd.last[1][-3:]
    assert any("after=" in link for link in page.links_to)
    for typed in (crowd.last[1], f"{crowd.mark}.{number}"):
        found = await clerk.send(page.form("/people"), q=typed)
        assert [name for name in found.links if name.startswith("Person ")] == [f"Person {number}"]
        assert "?" not in found.url
    one = await light(clerk, f"{PEOPLE}?organisation={crowd.last[0]}")
    assert [name for name in one.links if name.startswith("Person ")] == [f"Person {number}"]


async def test_any_organisation_is_chosen_and_what_was_typed_is_kept(world: World, crowd: Crowd, clerk: Walker) -> None:
    id_, name = crowd.last
    page = await light(clerk, f"{PEOPLE}/new")
    assert str(id_) not in page.html
    typed = {"name": "ដារា", "sign_in_name": f"{crowd.mark}.dara", "roles": "receiver"}
    page = await clerk.send(page.form("/new"), ("organisation_find", "1"), organisation_name=name, **typed)
    assert (page.status, page.form("/new").get("name")) == (200, ["ដារា"])
    assert str(id_) in page.html
    assert await rows(world, "select 1 from person where sign_in_name = $1", typed["sign_in_name"]) == []
    # The Enter key presses the first button of a form, which is the one that searches.
    page = await clerk.send(page.form("/new"), ("organisation_find", "1"), organisation=str(id_))
    kept = "select organisation from person where sign_in_name = $1"
    assert (page.status, await rows(world, kept, typed["sign_in_name"])) == (200, [{"organisation": id_}])
    # Whoever comes from an organisation's own page has chosen it.
    page = await clerk.get(f"{PEOPLE}/new?organisation={id_}")
    assert page.form("/new").get("organisation") == [str(id_)]


async def test_any_organisation_coordinates_or_joins(world: World, crowd: Crowd, clerk: Walker) -> None:
    id_, name = crowd.last
    page = await clerk.get(f"{ADMIN}/networks/{world.network}/coordinator")
    page = await clerk.send(page.form("/coordinator"), organisation_name=name)  # nothing is chosen yet
    page = await clerk.send(page.form("/coordinator"), organisation=str(id_))
    coordinates = "select coordinator from network where id = $1"
    assert await rows(world, coordinates, UUID(world.network)) == [{"coordinator": id_}]
    page = await clerk.send((await clerk.get(f"{ADMIN}/networks/new")).form("/new"), coordinator_name=name)
    page = await clerk.send(page.form("/new"), name=f"Net {crowd.mark}", coordinator=str(id_))
    made = page.path.rpartition("/")[2]
    assert await rows(world, coordinates, UUID(made)) == [{"coordinator": id_}]
    other, called = next(iter(crowd.names.items()))
    page = await light(clerk, page.path)
    page = await clerk.send(page.form("/members"), ("organisation_find", "1"), organisation_name=called)
    page = await clerk.send(page.form("/members"), organisation=str(other))
    assert called in page.links


# --- who meets people, who coordinates, who reviews the rules ---------------------------------------------------------


async def test_somebody_agrees_to_any_organisation_by_name(world: World, crowd: Crowd) -> None:
    id_, name = crowd.last
    async with walker(world, world.sender, StaffRole.SENDER, language="km") as worker:
        answers = meeting.path_of(world)
        for step, field, value in (("whom", "organisations", str(id_)), ("never", "never", f"organisation:{id_}")):
            page = await meeting.talked(worker, await world.entry(), answers, to=step)
            page = await light(worker, page.path)
            assert value not in page.html
            kept = {"classes": "shelter KH"} if step == "whom" else {"never": "law_enforcement"}
            page = await worker.send(page.form(f"/{step}"), (f"{field}_find", "1"), **{f"{field}_name": name}, **kept)
            assert page.form(f"/{step}").get(next(iter(kept))) == list(kept.values()), "what was ticked is kept"
            assert value in page.html
            page = await worker.send(page.form(f"/{step}"), **{field: value})
            assert not page.path.endswith(step)
            back = await worker.get(page.path.rpartition("/")[0] + f"/{step}")
            assert value in back.form(f"/{step}").get(field), "what is ticked is listed, whatever is searched for"
            page = await light(worker, back.path)


async def test_what_any_organisation_would_get(world: World, crowd: Crowd) -> None:
    entry = await world.ready_person()
    async with walker(world, world.sender, StaffRole.SENDER, language="km") as worker:
        asked = f"{meeting.ENTRIES}/{entry}/who-gets-what"
        page = await worker.send((await worker.get(asked)).form("/who-gets-what"), service_type="emergency_bed")
        assert page.bytes + _HEADS < LATER_MOST
        page = await worker.send(page.form("/who-gets-what"), service_type="emergency_bed", q=crowd.last[1])
        assert page.text.count(crowd.mark) == 1


async def test_a_coordinator_finds_any_house_and_an_officer_any_agreement(world: World, crowd: Crowd) -> None:
    id_, name = crowd.last
    await rows(
        world,
        """
        insert into place (id, organisation, network, service_group, service_types, area, eligibility, usable)
        select gen_random_uuid(), one, $2, 'shelter', '{emergency_bed}', 'KH-1', '{}', 3 from unnest($1::uuid[]) as one
        returning id
        """,
        list(crowd.names), UUID(world.network),
    )  # fmt: skip
    handoff = await world.handoff(await world.ready_person(needs=["high_security"]), service_type="representation")

    async def waits() -> object:
        return (await world.coordinator.partner.get("/referral/escalations"))["escalations"]

    await eventually(waits)
    async with walker(world, world.coordinator, StaffRole.COORDINATOR, StaffRole.OFFICER, language="km") as person:
        await rows(world, "update referral set service_group = 'shelter' where id = $1 returning id", UUID(handoff))
        page = await light(person, f"/referral/pages/escalations/{handoff}")
        page = await light(person, f"{page.path}?{urlencode({'q': name})}")
        assert crowd.mark in page.text
        usual = "/intake/pages/rules/usual"
        page = await light(person, f"{usual}?network={world.network}")
        assert len(page.form("/usual").get("receives")) == lists.MOST
        page = await person.send(page.form("/usual"), ("receives_find", "1"), receives_name=name)
        assert str(id_) in page.html
        query = {
            "network": world.network,
            "read": 1,
            "sends": world.sender.id,
            "receives": list(map(str, crowd.names))[:40],
        }
        page = await light(person, f"{usual}?{urlencode(query, doseq=True)}")
        await person.send(page.form("/usual"))
        page = await light(person, f"{usual}?network={world.network}")
        assert not set(page.form("/usual").get("receives")) & set(query["receives"]), "who has rules waits for none"
        await light(person, "/intake/pages/rules?kind=agreements")
        called = next(iter(crowd.names.values()))
        page = await light(person, f"/intake/pages/rules?{urlencode({'kind': 'agreements', 'q': called})}")
        assert page.text.count(called) == 2, "from it and to it"
