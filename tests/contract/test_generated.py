"""`spean schemas`: what is frozen stays, what is compatible is added, what is not is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas import contracts
from schemas.contracts import Contract
from services.cli import schemas
from services.cli.main import app

NAME = "handoff.requested.v1"


def kept_before(folder: Path, change: Any) -> dict[str, bytes]:
    """Every contract as it is, but one as it was before a change. Returns that one's files."""
    before = contracts.current()
    older = Contract(copy.deepcopy(before[NAME].writer), copy.deepcopy(before[NAME].reader))
    change(older.writer["properties"])
    change(older.reader["properties"])
    for name, made in {**before, NAME: older}.items():
        for path, text in contracts.files(name, 1, made, folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    (folder / contracts.ROUTES).write_text(json.dumps(contracts.routes(), indent=2) + "\n", encoding="utf-8")
    return {path.name: path.read_bytes() for path in (folder / NAME).iterdir()}


def test_what_has_not_changed_stays_at_its_revision(tmp_path: Path) -> None:
    kept_before(tmp_path, lambda fields: None)
    assert schemas.stale(schemas.new_revisions(tmp_path)) == []


def test_a_description_is_written_in_place(tmp_path: Path) -> None:
    kept_before(tmp_path, lambda fields: fields["places"].update(description="older words"))
    changed = schemas.stale(schemas.new_revisions(tmp_path))
    assert [path.name for path in changed] == ["1.reader.json", "1.writer.json"]


def test_a_compatible_change_becomes_the_next_revision(tmp_path: Path) -> None:
    before = kept_before(tmp_path, lambda fields: fields.pop("need_by"))
    wanted = schemas.new_revisions(tmp_path)
    changed = schemas.stale(wanted)
    assert [path.relative_to(tmp_path).as_posix() for path in changed] == [
        f"{NAME}/2.reader.json",
        f"{NAME}/2.writer.json",
    ]
    for path in changed:
        path.write_text(wanted[path], encoding="utf-8")
    first, second = contracts.released(tmp_path)[NAME]
    assert "need_by" not in first.writer["properties"]
    assert second == contracts.current()[NAME]
    assert {name: (tmp_path / NAME / name).read_bytes() for name in before} == before, "a revision is frozen"
    assert schemas.stale(schemas.new_revisions(tmp_path)) == []


def test_an_incompatible_change_is_refused_and_named(tmp_path: Path) -> None:
    kept_before(tmp_path, lambda fields: fields["places"].update(exclusiveMinimum=5))
    with pytest.raises(schemas.Incompatible, match=rf"{NAME}: revision 2 after 1: old reader, new writer: places"):
        schemas.new_revisions(tmp_path)


def test_an_event_does_not_move_to_another_topic(tmp_path: Path) -> None:
    kept_before(tmp_path, lambda fields: None)
    routes = contracts.routes()
    routes["events"]["offer.sent.v1"] = "spean.place"
    (tmp_path / contracts.ROUTES).write_text(json.dumps(routes), encoding="utf-8")
    with pytest.raises(schemas.Incompatible, match=r"offer.sent.v1: spean.place became spean.referral"):
        schemas.new_revisions(tmp_path)


def test_a_contract_does_not_vanish(tmp_path: Path) -> None:
    kept_before(tmp_path, lambda fields: None)
    gone = tmp_path / "weather.changed.v1"
    gone.mkdir()
    for side in ("writer", "reader"):
        (gone / f"1.{side}.json").write_text(json.dumps({"type": "object"}), encoding="utf-8")
    with pytest.raises(schemas.Incompatible, match=r"weather.changed.v1: gone"):
        schemas.new_revisions(tmp_path)


def test_a_token_needs_a_key_that_is_one(tmp_path: Path) -> None:
    key = tmp_path / "key.jwk"
    for wrong in ("no json: secret-canary", '{"kty": "RSA", "n": "secret-canary"}', "{}"):
        key.write_text(wrong, encoding="utf-8")
        told = CliRunner().invoke(app, ["token", "--as", "somebody", "--key", str(key)])
        assert told.exit_code == 2
        assert "no Ed25519 key" in told.output
        assert "secret-canary" not in told.output
