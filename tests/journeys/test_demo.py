"""The demo's day, against a running installation: everything that it tells a newcomer has really happened."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path as FilePath

import pytest
from joserfc.jwk import OKPKey
from rich.console import Console

from services.cli import bootstrap, demo, demo_people, demo_show
from services.cli.client import ApiProblem
from services.cli.demo_day import Day
from services.cli.demo_result import Answer, Path, Result
from services.cli.installation import Installation
from spean.settings import Settings


@pytest.fixture(scope="module")
async def played(installed: tuple[Installation, Settings]) -> Result:
    """One run for all the questions below."""
    made, settings = installed
    key = await bootstrap.administrator(made.services["referral"].db, settings)
    return await demo.play(made.url, key)


def path(result: Result, person: str) -> Path:
    return next(one for one in result.paths if one.person == person)


def steps(result: Result, person: str) -> str:
    return " → ".join(one.what for one in path(result, person).steps)


def answers(result: Result, person: str, stage: str) -> list[Answer]:
    return [one for one in result.answers if (one.person, one.stage) == (person, stage)]


async def test_everything_that_was_expected_has_happened(played: Result) -> None:
    assert [one for one in played.expectations if not one.held] == []
    assert played.ok
    assert len(played.expectations) >= 55
    assert played.seconds < 60, "some seven seconds on a machine that does nothing else"


async def test_every_person_of_the_group_has_a_path_to_its_end(played: Result) -> None:
    with_a_path = {person.name for person in demo_people.GROUP} - {demo_people.INFANT.name}
    assert {one.person for one in played.paths} == with_a_path
    assert all(one.ended and not one.broken for one in played.paths)
    assert (played.group["rows_done"], played.group["entries"], played.group["refused"]) == (15, 14, 1)


async def test_everybody_with_a_handoff_has_waiting_times_in_order(played: Result) -> None:
    without = {one.person for one in played.paths if one.handoff is None}
    assert without == {"Bopha", "Lina"}
    for one in played.paths:
        waits = [one.waits_s[stage] for stage in ("offered", "accepted", "ready", "arrived") if stage in one.waits_s]
        assert waits == sorted(waits)
        assert (len(waits) >= 3) == (one.person not in without)


async def test_who_agrees_to_all_is_received_and_the_recruiter_stays_unnamed(played: Result) -> None:
    (packet,) = answers(played, "Chanthy", "packet")
    assert packet.recipient == "Lotus House"
    assert {"name", "health_notes", "phone", "age_years"} <= set(packet.fields)
    assert packet.refused["consent-category"] == ("recruiter_notes",)
    assert "meeting point: north gate, 02:30" in steps(played, "Chanthy")
    assert path(played, "Chanthy").ended == "completed: needs met"


async def test_before_a_house_accepts_it_sees_coarse_bands_only(played: Result) -> None:
    offers = [one for one in played.answers if one.stage == "offer" and (one.fields or "rare" in one.refused)]
    assert {"needs"} <= {name for one in offers for name in one.fields} <= {"age_band", "sex", "languages", "needs"}
    assert any("rare" in one.refused for one in offers), "so few people, and they show little of each"
    assert {one.person for one in offers} == {one.person for one in played.paths if one.handoff} | {"Mom's infant"}


async def test_the_police_learn_nothing_of_anybody_and_hers_is_an_exclusion(played: Result) -> None:
    police = [one for one in played.answers if one.recipient == "Police post with rooms"]
    assert len(police) >= 5
    assert all(not one.fields for one in police)
    rules = {one.person: set(one.refused) for one in police}
    assert rules.pop("Kanya") == {"excluded"}
    assert all(rule == {"consent-recipient"} for rule in rules.values())


async def test_withdrawn_sharing_empties_the_packet_and_costs_no_bed(played: Result) -> None:
    before, after = answers(played, "Thida", "packet")
    assert "name" in before.fields
    assert after.fields == ()
    assert set(after.refused) == {"fenced"}
    assert "arrived" in path(played, "Thida").waits_s


async def test_the_refusals_are_these(played: Result) -> None:
    told = {(one.person, one.what, one.code, one.rule) for one in played.refusals if one.code != "place-gone"}
    assert told == {
        ("Bopha", "a hand-off", "sharing-consent", "fenced"),
        ("Lina", "opening her case", "guardian", "guardian"),
        ("Lina", "a hand-off", "guardian", "guardian"),
        ("Chanthy", "an arrival with a wrong code", "code-wrong", None),
        ("Malis", "reading the packet", "no-longer-available", None),
        ("Sopheap", "an answer that comes too late", "no-longer-available", None),
        ("Vuthy", "asking a house for women", "not-allowed-now", None),
    }
    (loser,) = [one.person for one in played.refusals if one.code == "place-gone"]
    assert loser in {"Nary", "Phary"}


async def test_the_last_bed_goes_to_one_and_the_other_is_placed_elsewhere(played: Result) -> None:
    ends = {path(played, name).ended for name in ("Nary", "Phary")}
    assert ends == {"ready at Little House, in the last bed", "ready at Open House"}


async def test_a_house_that_declines_or_is_silent_is_followed_by_the_next(played: Result) -> None:
    declined, silent = steps(played, "Ratana"), steps(played, "Sopheap")
    assert declined.index("Riverside House declines") < declined.index("offered to Garden House")
    assert silent.index("offered to Night House") < silent.index("offered to Morning House")
    waited = path(played, "Sopheap").waits_s
    assert waited["accepted"] - waited["offered"] >= 3, "the silent house had its time"


async def test_mother_and_infant_are_one_handoff_with_a_section_each(played: Result) -> None:
    assert "2 beds asked for" in steps(played, "Mom")
    assert [one.recipient for one in answers(played, "Mom's infant", "packet")] == ["House for mothers"]


async def test_the_coordinator_owns_who_nobody_can_take(played: Result) -> None:
    told = steps(played, "Vuthy")
    assert told.index("Referral desk is told") < told.index("Referral desk owns it") < told.index("House for men")
    assert path(played, "Vuthy").ended == "in House for men"


async def test_a_scene_that_breaks_fails_the_day(installed: tuple[Installation, Settings]) -> None:
    """One that asks for what cannot be: it must not end well."""

    async def impossible(day: Day) -> None:
        path = day.path(demo_people.CHANTHY, "asks for a bed that nobody may offer")
        await day.ask(path, day.entries["Chanthy"], area="KH-1")

    made, settings = installed
    key = await bootstrap.administrator(made.services["referral"].db, settings)
    result = await demo.play(made.url, key, scenes=[impossible])
    assert not result.ok
    assert path(result, "Chanthy").broken
    assert any("service-consent" in one.what for one in result.expectations if not one.held)


async def test_only_the_administrator_can_set_the_stage(installed: tuple[Installation, Settings]) -> None:
    made, _ = installed
    with pytest.raises(ApiProblem, match="bad-client"):
        await demo.play(made.url, OKPKey.generate_key("Ed25519", auto_kid=True))


async def test_the_tables_hold_every_person_and_what_failed_stands_last(played: Result) -> None:
    shown = io.StringIO()
    demo_show.show(Console(file=shown, width=200), played)
    text = shown.getvalue()
    for word in [one.person for one in played.paths] + [
        "waited: offered",
        "excluded",
        "fenced",
        "guardian",
        "place-gone",
    ]:
        assert word in text
    assert text.rstrip().splitlines()[-1].startswith("As it should be")


async def command(installed: tuple[Installation, Settings], *more: str) -> tuple[int | None, str, str]:
    made, settings = installed
    await bootstrap.administrator(made.services["referral"].db, settings)
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", "demo", "--url", made.url, "--key", str(bootstrap.key_file(settings)), *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await ran.communicate()
    return ran.returncode, out.decode(), err.decode()


@pytest.mark.long
async def test_played_again_by_the_command_it_takes_a_file_in_first(
    played: Result, installed: tuple[Installation, Settings], tmp_path: FilePath
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("\n".join([demo_people.HEADER, *[demo_people.KANYA.row] * 600]) + "\n")
    code, out, err = await command(installed, "--json", "--file", str(file))
    assert code == 0, err
    told = json.loads(out)
    assert told["ok"]
    assert told["network"] != played.network
    assert (told["file"]["rows_done"], told["file"]["entries"]) == (600, 600)


async def test_a_wrong_file_is_told_before_anything_is_founded(
    installed: tuple[Installation, Settings], tmp_path: FilePath
) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n")
    code, out, err = await command(installed, "--file", str(file))
    assert (code, out) == (1, "")
    assert "lacks yearOfRegistration" in " ".join(err.split())
    assert "founding" not in err
    assert "Traceback" not in err
