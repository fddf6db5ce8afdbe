"""A screened group through the public API: whole, once, in order, and nobody else's."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.vocabulary import AgeBand
from services.cli import screen_import
from services.cli.client import ApiProblem, Partner
from services.intake.screening.domain import Column
from tests.builders import Organisation, World, eventually

HEADER = ",".join(Column)
GOOD = "2017,Hotline,Female,KH,1,Threats,Other,Forced Labor,Domestic Work,Age 21-23"
MINOR = "2017,Hotline,Female,0,0,Other,Not Specified,Sexual Exploitation,Unknown,Age 9-17"


@pytest.fixture
async def post(world: World) -> Organisation:
    return world.sender


def written(folder: Path, rows: Iterable[str], header: str = HEADER) -> Path:
    """A file of its own content (the identity of a screening), whatever its rows are."""
    path = folder / f"{uuid4().hex}.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


async def begun(partner: Partner, **more: Any) -> dict[str, Any]:
    body = {"digest": hashlib.sha256(uuid4().bytes).hexdigest(), "area": "KH-1", **more}
    found: dict[str, Any] = await partner.post("/intake/screenings", body)
    return found


def values(row: str, line: int = 2) -> dict[str, Any]:
    return {"line": line, "values": row.split(",")}


async def entries(partner: Partner, screening: str) -> list[dict[str, Any]]:
    """Every entry of a screening, page by page."""
    found: list[dict[str, Any]] = []
    while page := (await partner.get(_entries(screening, found[-1]["row"] + 1 if found else 0)))["entries"]:
        found += page
    return found


def _entries(screening: str, from_row: int) -> str:
    return f"/intake/screenings/{screening}/entries?from_row={from_row}"


# --- a file becomes entries ---------------------------------------------------------------------------------------


async def test_rows_become_entries_with_codes_and_neither_consent_nor_case(post: Organisation, tmp_path: Path) -> None:
    path = written(tmp_path, [GOOD, MINOR])
    done = await screen_import.take_in(post.partner, path, "KH-1")
    shown = done.screening
    assert (shown["rows_done"], shown["entries"], shown["refused"], shown["doubtful"]) == (2, 2, 0, 1)
    assert shown["suppressed"] == 1
    assert shown["finished_at"] is not None
    assert done.counts == {("ageCategories", "band_straddles_child_and_adolescent", False): 1}

    first, second = await entries(post.partner, shown["id"])
    assert (first["row"], second["row"]) == (0, 1)
    woman = await post.partner.get(f"/intake/entries/{first['entry']}")
    assert (woman["channel"], woman["screening"], woman["minor"]) == ("screening", shown["id"], False)
    assert woman["happened_at"] == "2017-01-01T00:00:00Z"
    assert woman["person"] == {
        "age_band": "adult", "sex": "female", "citizenship": "KH", "exploitation": ["ForcedLabour", "ISIC-T97"],
        "means_of_control": ["Threats"], "recruiter_notes": "recruiter:other",
    }  # fmt: skip
    girl = await post.partner.get(f"/intake/entries/{second['entry']}")
    assert girl["minor"]
    assert girl["person"]["age_band"] == AgeBand.ADOLESCENT
    assert "citizenship" not in girl["person"]

    for one in (first, second):
        assert (await post.partner.get(f"/intake/entries/{one['entry']}/consents"))["records"] == []
        with pytest.raises(ApiProblem, match=r"service-consent|guardian"):
            await post.partner.post(f"/intake/entries/{one['entry']}/case")


async def test_a_screened_person_can_be_met_alone_and_decide(world: World, tmp_path: Path) -> None:
    done = await screen_import.take_in(world.sender.partner, written(tmp_path, [GOOD]), "KH-1")
    entry = (await entries(world.sender.partner, done.screening["id"]))[0]["entry"]
    await world.consent(entry, "service")
    await world.consent(entry, "share_referral")
    opened = await world.sender.partner.post(f"/intake/entries/{entry}/case")
    assert opened["state"] == "open"


async def test_the_same_file_twice_doubles_nothing(post: Organisation, tmp_path: Path) -> None:
    path = written(tmp_path, [GOOD] * 700)
    first = await screen_import.take_in(post.partner, path, "KH-1")
    again = await screen_import.take_in(post.partner, path, "KH-1")
    assert again.screening == first.screening
    assert (again.before, again.rows_per_s) == (700, 0.0)
    found = await entries(post.partner, first.screening["id"])
    assert [one["row"] for one in found] == list(range(700))


async def test_two_imports_of_one_file_at_once_share_the_work(post: Organisation, tmp_path: Path) -> None:
    path = written(tmp_path, [GOOD, MINOR] * 1_000)
    both = await asyncio.gather(*(screen_import.take_in(post.partner, path, "KH-1") for _ in range(2)))
    assert both[0].screening == both[1].screening
    assert both[0].screening["entries"] == 2_000
    assert both[0].counts == both[1].counts == {("ageCategories", "band_straddles_child_and_adolescent", False): 1_000}
    found = await entries(post.partner, both[0].screening["id"])
    assert [one["row"] for one in found] == list(range(2_000))


async def test_another_organisation_has_a_screening_of_its_own(world: World, tmp_path: Path) -> None:
    path = written(tmp_path, [GOOD])
    other = await world.organisation("Other post", "border_post", ["intake:send"])
    mine = await screen_import.take_in(world.sender.partner, path, "KH-1")
    theirs = await screen_import.take_in(other.partner, path, "KH-1")
    assert mine.screening["id"] != theirs.screening["id"]
    id_ = mine.screening["id"]
    body = {"from_row": 1, "rows": [values(GOOD)]}
    for attempt in (
        other.partner.get(f"/intake/screenings/{id_}"),
        other.partner.get(f"/intake/screenings/{id_}/findings"),
        other.partner.get(f"/intake/screenings/{id_}/entries"),
        other.partner.post(f"/intake/screenings/{id_}/rows", body),
        other.partner.post(f"/intake/screenings/{id_}/finish", {"rows": 1}),
        other.partner.get(f"/intake/entries/{(await entries(world.sender.partner, id_))[0]['entry']}"),
    ):
        with pytest.raises(ApiProblem) as refused:
            await attempt
        assert (refused.value.status, refused.value.code) == (404, "not-found")
    assert (await world.sender.partner.get(f"/intake/screenings/{id_}"))["rows_done"] == 1


async def test_the_report_is_hidden_by_the_database_itself(world: World, tmp_path: Path) -> None:
    other = await world.organisation("Other post", "border_post", ["intake:send"])
    mine = await screen_import.take_in(world.sender.partner, written(tmp_path, [MINOR]), "KH-1")
    counted = "select count(*) from screening_finding where screening = $1"
    for org, rows in ((world.sender.id, 1), (other.id, 0)):
        async with world.made.services["intake"].db.transaction("test.findings", org=UUID(org)) as tx:
            assert await tx.conn.fetchval(counted, UUID(mine.screening["id"])) == rows


async def test_only_who_may_send_may_screen(world: World) -> None:
    house = await world.organisation("House", "shelter", ["referral:receive"])
    with pytest.raises(ApiProblem) as refused:
        await begun(house.partner)
    assert refused.value.status in {401, 403}


# --- the steps of the API -----------------------------------------------------------------------------------------


async def test_beginning_again_finds_what_was_begun(post: Organisation) -> None:
    first = await begun(post.partner, digest="a" * 64)
    again = await begun(post.partner, digest="a" * 64, area="KH-2")
    assert again == first
    assert first["area"] == "KH-1"


async def test_a_repeated_chunk_changes_nothing_and_a_gap_is_refused(post: Organisation) -> None:
    address = f"/intake/screenings/{(await begun(post.partner))['id']}"
    chunk = {"from_row": 0, "rows": [values(GOOD, 2), values(GOOD, 3)]}
    after = await post.partner.post(f"{address}/rows", chunk)
    assert (after["rows_done"], after["version"]) == (2, 2)
    assert await post.partner.post(f"{address}/rows", chunk) == after
    for gap in ({"from_row": 3, "rows": [values(GOOD, 5)]}, {"from_row": 1, "rows": [values(GOOD, 3)] * 2}):
        with pytest.raises(ApiProblem) as refused:
            await post.partner.post(f"{address}/rows", gap)
        assert (refused.value.status, refused.value.code) == (409, "state")
    assert await post.partner.get(address) == after


async def test_finishing_needs_all_the_rows_and_closes(post: Organisation) -> None:
    address = f"/intake/screenings/{(await begun(post.partner))['id']}"
    await post.partner.post(f"{address}/rows", {"from_row": 0, "rows": [values(GOOD)]})
    with pytest.raises(ApiProblem, match="state"):
        await post.partner.post(f"{address}/finish", {"rows": 2})
    done = await post.partner.post(f"{address}/finish", {"rows": 1})
    assert done["finished_at"] is not None
    assert await post.partner.post(f"{address}/finish", {"rows": 1}) == done
    with pytest.raises(ApiProblem, match="state"):
        await post.partner.post(f"{address}/rows", {"from_row": 1, "rows": [values(GOOD)]})


@pytest.mark.parametrize(
    "row",
    [
        {"line": 2},
        {"line": 2, "values": ["x"] * 9},
        {"line": 2, "values": ["x"] * 10, "broken": "not_utf8"},
        {"line": 2, "broken": "unknown_code"},
        {"line": 2, "broken": "what"},
        {"line": 0, "values": ["x"] * 10},
        {"line": 2, "values": ["x" * 201] + ["x"] * 9},
        {"line": 2, "values": ["x"] * 10, "name": "canary-in-a-field"},
    ],
)
async def test_a_row_that_is_none_is_refused_without_being_repeated(post: Organisation, row: dict[str, Any]) -> None:
    address = f"/intake/screenings/{(await begun(post.partner))['id']}"
    with pytest.raises(ApiProblem) as refused:
        await post.partner.post(f"{address}/rows", {"from_row": 0, "rows": [row]})
    assert refused.value.code == "invalid"
    assert "canary" not in json.dumps(refused.value.problem)
    assert (await post.partner.get(address))["rows_done"] == 0


async def test_broken_lines_become_no_entry_and_stand_in_the_report(post: Organisation) -> None:
    address = f"/intake/screenings/{(await begun(post.partner))['id']}"
    rows = [values(GOOD), {"line": 3, "broken": "not_utf8", "column": "gender"}, {"line": 4, "broken": "too_long"}]
    after = await post.partner.post(f"{address}/rows", {"from_row": 0, "rows": rows})
    assert (after["rows_done"], after["entries"], after["refused"], after["doubtful"]) == (3, 1, 2, 0)
    found = (await post.partner.get(f"{address}/findings"))["findings"]
    assert [(one["line"], one["column"], one["why"], one["refused"]) for one in found] == [
        (3, "gender", "not_utf8", True),
        (4, None, "too_long", True),
    ]
    assert (await post.partner.get(f"{address}/findings?after={found[0]['number']}"))["findings"] == found[1:]


# --- the command --------------------------------------------------------------------------------------------------


async def command(post: Organisation, key: Path, path: Path, *more: str) -> asyncio.subprocess.Process:
    """The command as a person runs it, in a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", "screen", "import", str(path), "--as", post.partner.client_id,
        "--key", str(key), "--url", post.partner.url, *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def key(post: Organisation, tmp_path: Path) -> Path:
    path = tmp_path / "post.jwk"
    path.write_text(json.dumps(post.partner._key.as_dict(private=True)))
    return path


async def test_killed_half_way_it_goes_on_where_it_was(post: Organisation, key: Path, tmp_path: Path) -> None:
    path = written(tmp_path, [GOOD, MINOR] * 5_000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    killed = await command(post, key, path)

    async def some_are_in() -> Any:
        found = await begun(post.partner, digest=digest)
        return found["rows_done"] and found

    await eventually(some_are_in, within_s=60)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    before = await begun(post.partner, digest=digest)
    assert 0 < before["rows_done"] < 10_000, "killed too late to prove anything"
    assert not path.with_name(f"{path.name}.report.csv").exists()

    again = await command(post, key, path, "--json")
    out, err = await again.communicate()
    assert again.returncode == 0, err
    told = json.loads(out)
    # The killed command may have had two more chunks on their way.
    more, left = divmod(told["rows_before"] - before["rows_done"], screen_import.CHUNK_ROWS)
    assert more in {0, 1, 2}
    assert left == 0
    assert (told["rows_done"], told["entries"], told["doubtful"]) == (10_000, 10_000, 5_000)
    found = await entries(post.partner, told["screening"])
    assert [one["row"] for one in found] == list(range(10_000))
    with path.with_name(f"{path.name}.report.csv").open(newline="") as file:
        report = list(csv.DictReader(file))
    assert [int(one["line"]) for one in report] == list(range(3, 10_002, 2))


async def test_the_report_names_line_and_column_and_never_a_value(
    post: Organisation, key: Path, tmp_path: Path
) -> None:
    rows = [
        GOOD,
        GOOD.replace("Female", "Canary-Value"),
        GOOD.replace("KH", "canary"),
        GOOD + ",canary",
        GOOD.replace("Threats", '"canary'),
        GOOD.replace("Age 21-23", "Age 15-20"),
        "",
        ",,,,,,,,,",
    ]
    path, report = written(tmp_path, rows), tmp_path / "found.csv"
    ran = await command(post, key, path, "--report", str(report))
    out, err = await ran.communicate()
    assert ran.returncode == 0, err
    assert b"canary" not in (out + err + report.read_bytes()).lower()
    assert b"3 rows refused" in out
    with report.open(newline="") as file:
        told = [(int(one["line"]), one["column"], one["verdict"], one["why"]) for one in csv.DictReader(file)]
    assert told == [
        (3, "gender", "doubtful", "unknown_code"),
        (4, "citizenship", "doubtful", "no_such_country"),
        (5, "", "refused", "wrong_number_of_columns"),
        (6, "", "refused", "quotes_not_closed"),
        (7, "ageCategories", "doubtful", "band_straddles_majority_presumed_minor"),
        (9, "", "refused", "nothing_in_the_row"),
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [("other.csv", "lacks yearOfRegistration"), ("nowhere.csv", "cannot be read"), ("", "no regular file")],
)
async def test_what_cannot_be_imported_is_told_in_a_sentence(
    post: Organisation, key: Path, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "other.csv").write_text("name,secret-column\nx,y\n")
    ran = await command(post, key, tmp_path / name, "--report", str(tmp_path / "report.csv"))
    out, err = await ran.communicate()
    told = " ".join(err.decode().split())
    assert (ran.returncode, out) == (1, b"")
    assert said in told
    assert "Traceback" not in told
    assert "secret-column" not in told


# --- the real extract ---------------------------------------------------------------------------------------------


@pytest.fixture
def real() -> Path:
    """The public extract of the Counter-Trafficking Data Collaborative; not part of this repository."""
    named = os.environ.get("SPEAN_DATA_CTDC", "")
    if not named:
        pytest.skip("SPEAN_DATA_CTDC does not name the CTDC global extract: its real rows are not tried")
    return Path(named)


async def test_the_real_extract_is_taken_in_whole(post: Organisation, real: Path) -> None:
    done = await screen_import.take_in(post.partner, real, "KH-1")
    shown = done.screening
    assert (shown["rows_done"], shown["entries"], shown["refused"]) == (14_299, 14_299, 0)
    assert (shown["doubtful"], shown["suppressed"]) == (5_567, 8_353)
    assert done.counts == {
        ("ageCategories", "band_straddles_child_and_adolescent", False): 4_942,
        ("ageCategories", "band_straddles_adult_and_older", False): 424,
        ("ageCategories", "band_straddles_infant_and_child", False): 201,
    }
