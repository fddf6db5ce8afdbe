"""How many places there are, and how many more tonight: as the house says it, and as the network counts."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from services.cli.client import ApiProblem
from spean.geography import known_area
from tests.integration.town import Town


async def test_counted_anew(town: Town) -> None:
    """Nobody is told more than the numbers; `outside` is what the house filled by itself."""
    before = await town.place(town.first)
    assert (before["usable"], before["free"]) == (3, 3)
    path = f"/referral/places/{before['id']}/count"
    after = await town.first.partner.put(path, {"usable": 5, "more_tonight": 2}, before["version"])
    assert (after["usable"], after["outside"], after["free"]) == (5, 3, 2)
    assert await town.place(town.first) == after
    assert await town.said(before["id"], "capacity.changed") == 2


async def test_counting_twice_with_one_version_is_refused_the_second_time(town: Town) -> None:
    before = await town.place(town.first)
    path, body = f"/referral/places/{before['id']}/count", {"usable": 4, "more_tonight": 4}
    after = await town.first.partner.put(path, body, before["version"])
    with pytest.raises(ApiProblem, match="412 version"):
        await town.first.partner.put(path, body, before["version"])
    with pytest.raises(ApiProblem, match="428 version-missing"):
        await town.first.partner.put(path, body)
    assert await town.place(town.first) == after


async def test_a_place_that_was_promised_meanwhile_makes_the_count_old(town: Town) -> None:
    before = await town.place(town.first)
    await town.accepted(town.first)
    path = f"/referral/places/{before['id']}/count"
    with pytest.raises(ApiProblem, match="412 version"):
        await town.first.partner.put(path, {"usable": 3, "more_tonight": 3}, before["version"])
    now = await town.place(town.first)
    with pytest.raises(ApiProblem, match="places-in-use"):
        await town.first.partner.put(path, {"usable": 3, "more_tonight": 3}, now["version"])
    after = await town.first.partner.put(path, {"usable": 3, "more_tonight": 1}, now["version"])
    assert (after["held"], after["outside"], after["free"]) == (1, 1, 1)


async def test_another_houses_place_is_not_there(town: Town) -> None:
    mine = await town.place(town.first)
    for attempt in (
        town.second.partner.get(f"/referral/places/{mine['id']}"),
        town.second.partner.put(
            f"/referral/places/{mine['id']}/count", {"usable": 1, "more_tonight": 1}, mine["version"]
        ),
        town.second.partner.get(f"/referral/places/{uuid4()}"),
    ):
        with pytest.raises(ApiProblem, match="404 not-found"):
            await attempt
    listed = (await town.second.partner.get("/referral/places"))["places"]
    assert mine["id"] not in {one["id"] for one in listed}
    assert town.places[town.second.id] in {one["id"] for one in listed}
    assert await town.place(town.first) == mine


async def test_from_free_to_held_to_staying_to_free(town: Town) -> None:
    async def counts() -> tuple[int, int, int]:
        shown = await town.place(town.first)
        return shown["held"], shown["staying"], shown["free"]

    _, offer = await town.accepted(town.first, await town.ready_person(), await town.ready_person())
    assert await counts() == (2, 0, 1)
    await town.first.partner.post(f"/referral/offers/{offer}/arrived", {})
    assert await counts() == (0, 2, 1)
    await town.first.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "family_return"})
    assert await counts() == (0, 0, 3)


async def test_a_place_is_registered_once(town: Town) -> None:
    body = {
        "organisation": town.first.id, "network": town.network, "service_types": ["emergency_bed"], "area": "TH-27",
        "usable": 7, "eligibility": {"sexes": ["female"], "max_age": 17},
    }  # fmt: skip
    key = str(uuid4())
    made = await town.admin.post("/referral/places", body, key=key)
    assert (made["area"], made["free"], made["version"]) == ("TH-27", 7, 1)
    assert await town.admin.post("/referral/places", body, key=key) == made
    listed = (await town.first.partner.get("/referral/places"))["places"]
    assert sum(one["area"] == "TH-27" and one["id"] == made["id"] for one in listed) == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"area": "KH-99"}, "unknown-area"),
    ({"area": "Poipet"}, "422 invalid"),
    ({"service_types": ["emergency_bed", "counselling"]}, "422 invalid"),
    ({"service_types": []}, "422 invalid"),
    ({"usable": -1}, "422 invalid"),
    ({"usable": 10_001}, "422 invalid"),
    ({"organisation": "00000000-0000-4000-8000-000000000000"}, "404 not-found"),
    ({"network": "00000000-0000-4000-8000-000000000000"}, "404 not-found"),
    ({"address": "a street"}, "422 invalid"),
]


@pytest.mark.parametrize(("change", "code"), WRONG)
async def test_a_place_that_cannot_be(town: Town, change: dict[str, Any], code: str) -> None:
    body = {
        "organisation": town.first.id, "network": town.network, "service_types": ["emergency_bed"], "area": "KH-1", "usable": 1,
    }  # fmt: skip
    before = (await town.first.partner.get("/referral/places"))["places"]
    with pytest.raises(ApiProblem, match=code):
        await town.admin.post("/referral/places", {**body, **change})
    assert (await town.first.partner.get("/referral/places"))["places"] == before


@pytest.mark.parametrize("area", ["KH-1", "TH-27", "TH-63", "MM-13", "LA-BK", "CN-YN", "CN-GX", "VN-SG"])
def test_border_provinces_are_known(area: str) -> None:
    assert known_area(area)


@pytest.mark.parametrize("area", ["KH-99", "KH", "", "kh-1", "XX-1", "KH-1 "])
def test_what_is_no_province_is_not(area: str) -> None:
    assert not known_area(area)
