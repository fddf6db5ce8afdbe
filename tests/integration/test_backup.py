"""`spean backup` and `spean restore`: what they write, what they refuse, and the way back as an operator goes it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from services.cli import backup, pg_tools, restore
from services.cli.backup import KEY_FILES, TABLE_OF_CONTENTS, NoBackup
from services.cli.connected import NotRunning
from tests.builders import World
from tests.commands import Place, up
from tests.integration.holder import database

RESTORE_S = 200.0


async def test_keys_and_data_lie_apart_and_the_data_opens_nothing(world: World, workspace: Path) -> None:
    """Whoever finds the one folder cannot read anybody."""
    entry, name = await world.entry(name="Canary Backup"), uuid4().hex[:6]
    settings, data, keys = world.made.settings, workspace / f"data-{name}", workspace / f"keys-{name}"
    made = await backup.save(settings, data, "data")
    assert list(made.databases) == ["referral", "intake", "notify", "bus"], "the log last: it has what all had said"
    assert {path.name for path in data.iterdir()} == {TABLE_OF_CONTENTS, *(f"{one}.dump" for one in made.databases)}
    for path in (data, *data.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
    for other in (data, data / "in", workspace / f"data-{name}" / ".." / f"data-{name}"):
        with pytest.raises(NoBackup, match="never kept together"):
            await backup.save(settings, other, "keys")
    await backup.save(settings, keys, "keys")
    assert (keys / KEY_FILES / "intake" / "kek-1").read_bytes() == (settings.keys / "intake" / "kek-1").read_bytes()
    async with database(world, "keys") as conn:
        wrapped = await conn.fetchval("select wrapped from data_key where person = $1", entry)
    sealed = [wrapped.hex().encode(), wrapped, (settings.keys / "intake" / "kek-1").read_bytes(), b"Canary Backup"]
    for dump in data.glob("*.dump"):
        assert not [one for one in sealed if one in dump.read_bytes()]
    with pytest.raises(NoBackup, match="backup of keys, not of data"):
        backup.read(keys, "data")


async def test_what_cannot_be_used_is_refused_and_nothing_is_changed(world: World, workspace: Path) -> None:
    settings, folder = world.made.settings, workspace / f"data-{uuid4().hex[:6]}"
    await backup.save(settings, folder, "data")
    with pytest.raises(NoBackup, match="not empty"):
        await backup.save(settings, folder, "data")
    with pytest.raises(NoBackup, match="within the installation"):
        await backup.save(settings, settings.keys / "backup", "data")
    with pytest.raises(NoBackup, match="somebody works with referral"):
        await restore.rejoined(settings, ["referral"])
    with pytest.raises(NoBackup, match="somebody works with intake"):
        await restore.put_back(settings, folder, backup.read(folder, "data"), ["intake"])
    with pytest.raises(NoBackup, match="no whole backup"):
        backup.read(workspace, "data")
    said = json.loads((folder / TABLE_OF_CONTENTS).read_text())
    (folder / "notify.dump").write_bytes(b"spoiled")
    with pytest.raises(NoBackup, match="is not what was backed up of notify"):
        backup.read(folder, "data")
    assert said["databases"]["intake"]["migrations"]
    nowhere = settings.model_copy(update={"postgres": "", "data": workspace / "nowhere"})
    with pytest.raises(NotRunning):
        await backup.save(nowhere, workspace / f"data-{uuid4().hex[:6]}", "data")


async def test_a_tool_that_fails_says_so_without_a_password(world: World, workspace: Path) -> None:
    dsn = world.made.cluster.dsn("no_such_database")
    with pytest.raises(pg_tools.ToolFailed, match="no_such_database") as failed:
        await pg_tools.dump(dsn, workspace / f"{uuid4().hex}.dump")
    assert dsn.partition("@")[0].rpartition(":")[2] not in str(failed.value)


async def done(place: Place, *command: str, typed: str = "") -> tuple[int | None, str]:
    """A command that starts a database more than once, to its end."""
    process = await place.spawn(*command)
    async with asyncio.timeout(RESTORE_S):
        said, _ = await process.communicate(typed.encode())
    return process.returncode, said.decode()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_way_back_as_the_runbook_has_it(workspace: Path) -> None:
    """A holder's database is lost on a single machine; later the whole machine."""
    place = Place(workspace / f"drill-{uuid4().hex[:6]}")
    await asyncio.to_thread(place.folder.mkdir, 0o755)
    data, keys = place.folder / "backups" / "data", place.folder / "elsewhere" / "keys"
    async with up(place) as running:
        for command in (("backup", str(data)), ("backup", "--keys", str(keys))):
            code, said = await done(place, *command)
            assert code == 0, said
        code, said = await done(place, "restore", "--service", "intake", "--yes", str(data))
        assert code == 1
        assert "in use by process" in said
        before = await running.get("/referral/organisations", place.settings)
        await running.end(signal.SIGINT)
    code, said = await done(place, "restore", "--service", "intake", str(data), typed="n\n")
    assert code == 1, "asked, and not answered with yes"
    code, said = await done(place, "restore", "--service", "intake", "--yes", str(data))
    assert code == 0, said
    assert "is in life 2" in said
    async with up(place) as running:
        assert await running.get("/referral/organisations", place.settings) == before
        await running.end(signal.SIGINT)
    # The machine is gone: another one, with nothing.
    other = Place(place.folder / "other")
    await asyncio.to_thread(other.folder.mkdir, 0o755)
    code, said = await done(other, "restore", "--yes", str(data))
    assert code == 1
    assert "put them back first" in said
    for command in (("restore", "--keys", "--yes", str(keys)), ("restore", "--yes", str(data))):
        code, said = await done(other, *command)
        assert code == 0, said
    async with up(other) as running:
        assert await running.get("/referral/organisations", other.settings) == before
        await running.end(signal.SIGINT)
