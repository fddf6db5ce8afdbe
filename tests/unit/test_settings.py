"""Settings: what is refused, what is made of what was given, and that no value is ever told."""

from __future__ import annotations

from pathlib import Path

import pytest

from spean.settings import Settings, WrongSettings

SECRET = "secret-word"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_nothing_more(host: str) -> None:
    assert Settings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "spean.example.org", "127.0.0.1.example.org"])  # noqa: S104
@pytest.mark.parametrize("url", ["", "http://spean.example.org"])
def test_another_host_is_refused_while_anybody_could_read_along(host: str, url: str) -> None:
    with pytest.raises(WrongSettings, match=r"SPEAN_HOST.*SPEAN_CERTIFICATE.*SPEAN_URL.*127\.0\.0\.1"):
        Settings(host=host, url=url)


def test_another_host_is_fine_behind_https() -> None:
    assert Settings(host="0.0.0.0", url="https://spean.example.org/").url == "https://spean.example.org"  # noqa: S104


def test_another_host_is_fine_with_a_certificate() -> None:
    pair = {"certificate": Path("cert.pem"), "certificate_key": Path("key.pem")}
    assert Settings(host="spean.example.org", **pair).certificate == Path("cert.pem")
    with pytest.raises(WrongSettings, match="every address of this machine: set SPEAN_URL"):
        Settings(host="0.0.0.0", **pair)  # noqa: S104


@pytest.mark.parametrize("alone", ["certificate", "certificate_key"])
def test_a_certificate_and_its_key_come_together(alone: str) -> None:
    with pytest.raises(WrongSettings, match="belong together"):
        Settings(**{alone: Path("file.pem")})


@pytest.mark.parametrize(
    "url", [SECRET, "ftp://spean.example.org", "https://", "https://x.example/?a=b", "https://x.example/#a"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(WrongSettings, match="SPEAN_URL: must be an address") as told:
        Settings(url=url)
    assert SECRET not in str(told.value)


def test_folders_become_absolute() -> None:
    made = Settings(data=Path("somewhere/data"), keys=Path("~/keys"))
    assert made.data == Path.cwd() / "somewhere/data"
    assert made.keys == Path.home() / "keys"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", SECRET),
        ("PORT", "70000"),
        ("HOLDERS", SECRET),
        ("HOLDER", f"{SECRET}!"),
        ("COUNTRY", SECRET),
        ("SAMPLE", SECRET),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"SPEAN_{name}", value)
    with pytest.raises(WrongSettings, match=f"SPEAN_{name}") as told:
        Settings()
    assert SECRET not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_passwords_are_not_shown() -> None:
    made = Settings(postgres=f"postgresql://me:{SECRET}@db", smtp=f"smtp://me:{SECRET}@mail")
    assert SECRET not in repr(made)
    assert SECRET not in str(made)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAN_PORT", "")
    assert Settings().port == 8420


def test_the_databases_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a/b@c \n")
    made = Settings(postgres="postgresql://me@db:5432/postgres", postgres_password_file=file)
    assert made.postgres_address == "postgresql://me:a%2Fb%40c@db:5432/postgres"
    for wrong in (
        Settings(postgres="postgresql://db", postgres_password_file=file),
        Settings(postgres=f"postgresql://me:{SECRET}@db", postgres_password_file=file),
        Settings(postgres="postgresql://me@db", postgres_password_file=tmp_path / "none"),
    ):
        with pytest.raises(WrongSettings, match="SPEAN_POSTGRES_PASSWORD_FILE") as told:
            _ = wrong.postgres_address
        assert SECRET not in str(told.value)
