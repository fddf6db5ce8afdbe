"""`spean holder add` before anything runs: what it refuses, what it writes, and who reads it."""

from __future__ import annotations

import json
import shlex
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli import holder_files
from services.cli.holder_files import NotAdded, Wanted
from spean.provision import Roles
from spean.settings import HOLDERS_FILE, Settings, WrongSettings

WANTED = Wanted("sister", "TH", "http://127.0.0.1:8440")
AT = "http://127.0.0.1:8440/intake"
MAIN = "http://127.0.0.1:8420/intake"


@pytest.fixture
def network(tmp_path: Path) -> Settings:
    """A machine where the network has been started once."""
    settings = Settings(data=tmp_path / "data", keys=tmp_path / "keys")
    Roles.load(settings.keys)
    return settings


def test_all_that_a_holder_needs_is_written_and_read_again(network: Settings) -> None:
    plan = holder_files.planned(network, WANTED)
    assert holder_files.write(network, plan)
    assert stat.S_IMODE(plan.file.stat().st_mode) == 0o600, "the bus's password is in it"
    assert plan.folder == network.data.parent / "holders" / "sister"

    own = holder_files.settings_in(plan.folder)
    assert (own.holder, own.country, own.issuer, own.port) == ("sister", "TH", AT, 8440)
    assert own.holders == {"main": MAIN, "sister": AT}
    assert own.url == "http://127.0.0.1:8420"
    assert {own.data, own.keys}.isdisjoint({network.data, network.keys})
    assert own.bus.startswith("postgresql://bus_worker:")

    # The network's next start knows of it, and says how many know its port.
    assert Settings(data=network.data, keys=network.keys).holders == own.holders


def test_the_environment_does_not_mix_two_holders(network: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = holder_files.planned(network, WANTED)
    holder_files.write(network, plan)
    for name, value in {
        "SPEAN_DATA": "/elsewhere",
        "SPEAN_POSTGRES": "postgresql://other",
        "SPEAN_HOLDER": "main",
    }.items():
        monkeypatch.setenv(name, value)
    own = holder_files.settings_in(plan.folder)
    assert (own.data, own.postgres, own.holder) == (plan.folder / "data", "", "sister")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(WANTED, name="Sister"), "small letters"),
        (replace(WANTED, name="../x"), "small letters"),
        (replace(WANTED, name="main"), "already"),
        (replace(WANTED, country="XX"), "ISO 3166"),
        (replace(WANTED, country="th"), "ISO 3166"),
        (replace(WANTED, url="http://sister.example.net"), "https://"),
        (replace(WANTED, url="ftp://sister.example.net"), "must be an address"),
        (replace(WANTED, url="https://user@sister.example.net"), "must be an address"),
        (replace(WANTED, url="http://127.0.0.1:99999"), "must be an address"),
        (replace(WANTED, url="http://127.0.0.1:8420"), "answers at that address"),
        (replace(WANTED, issuer="http://issuer.example.net"), "--issuer"),
        (replace(WANTED, network="spean.example.org"), "--network"),
        (replace(WANTED, url="https://sister.example.net/intake"), "--url is the address without /intake"),
        (replace(WANTED, network="https://spean.example.org/referral"), "--network is the address without /referral"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(network: Settings, wrong: Wanted, said: str) -> None:
    before = sorted(network.data.parent.rglob("*"))
    with pytest.raises(NotAdded, match=said):
        holder_files.planned(network, wrong)
    assert sorted(network.data.parent.rglob("*")) == before


def test_a_holder_is_added_once_and_never_over_something_else(network: Settings) -> None:
    holder_files.write(network, holder_files.planned(network, WANTED))
    again = Settings(data=network.data, keys=network.keys)
    with pytest.raises(NotAdded, match="already"):
        holder_files.planned(again, WANTED)
    with pytest.raises(NotAdded, match="answers at that address"):
        holder_files.planned(again, replace(WANTED, name="other"))
    taken = network.data.parent / "taken"
    taken.mkdir()
    (taken / "something").touch()
    with pytest.raises(NotAdded, match="not empty"):
        holder_files.planned(again, Wanted("other", "LA", "http://127.0.0.1:8441", folder=taken))


@pytest.mark.parametrize("taken", ["postgresql://10.0.0.5", "postgresql://a:b@10.0.0.5:5432/postgres"])
def test_no_holder_takes_over_the_databases_of_another(tmp_path: Path, taken: str) -> None:
    """Its databases are called the same: on one server one of them would shut the other out and write in its tables."""
    network = Settings(data=tmp_path / "data", keys=tmp_path / "keys", postgres="postgresql://10.0.0.5:5432")
    Roles.load(network.keys)
    with pytest.raises(NotAdded, match="--postgres"):
        holder_files.planned(network, replace(WANTED, postgres=taken))
    holder_files.write(network, holder_files.planned(network, replace(WANTED, postgres="postgresql://10.0.0.6")))
    again = Settings(data=network.data, keys=network.keys, postgres="postgresql://10.0.0.5:5432")
    third = Wanted("third", "LA", "http://127.0.0.1:8441", postgres="postgresql://10.0.0.6:5432")
    with pytest.raises(NotAdded, match="--postgres"):
        holder_files.planned(again, third)
    assert holder_files.planned(again, replace(third, postgres="postgresql://10.0.0.6:5433"))


def test_beside_a_network_elsewhere_the_bus_has_to_be_named(tmp_path: Path) -> None:
    bare = Settings(data=tmp_path / "data", keys=tmp_path / "keys")
    far = replace(WANTED, network="https://spean.example.org", url="https://sister.example.net")
    with pytest.raises(NotAdded, match="SPEAN_BUS"):
        holder_files.planned(bare, far)
    told = Settings(
        data=bare.data, keys=bare.keys, bus="kafka://k:9093", holders={"main": "https://spean.example.org/intake"}
    )
    plan = holder_files.planned(told, far)
    assert not holder_files.write(told, plan), "the network is told by its own operator"
    assert not (told.keys / HOLDERS_FILE).exists()
    own = holder_files.settings_in(plan.folder)
    assert (own.bus, own.url, own.port) == ("kafka://k:9093", "https://spean.example.org", 8420)
    assert own.issuer == own.holders["sister"] == "https://sister.example.net/intake"


def test_a_spoilt_list_or_settings_file_is_told(network: Settings) -> None:
    plan = holder_files.planned(network, WANTED)
    holder_files.write(network, plan)
    (network.keys / HOLDERS_FILE).write_text('{"main": 5}')
    with pytest.raises(WrongSettings, match=HOLDERS_FILE):
        Settings(data=network.data, keys=network.keys)
    assert Settings(data=network.data, keys=network.keys, holders={"main": MAIN}).holders == {"main": MAIN}
    plan.file.write_text("SPEAN_HOLDER='sister\n")
    with pytest.raises(NotAdded, match="cannot be read"):
        holder_files.settings_in(plan.folder)
    plan.file.write_text(f"SPEAN_HOLDER=sister\nSPEAN_HOLDERS={shlex.quote(json.dumps({'main': MAIN})[1:])}\n")
    with pytest.raises(NotAdded, match="SPEAN_HOLDERS"):
        holder_files.settings_in(plan.folder)
