"""Keys in files that change while processes run: what is made, what is accepted, and for how long."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

import pytest

from spean import turning
from spean.auth import Kind, Signer, Verifier
from spean.problem import Refusal
from spean.provision import Roles, new_secret, secret_file
from spean.turning import NotAKey, SigningKeys, StillTurning, before, following, prepare, private, public_part, turn

AUDIENCE = "intake"


def new_key() -> bytes:
    return private(turning.new_signing_key())


def kids(keys: SigningKeys) -> list[object]:
    return [one["kid"] for one in keys.public()]


@pytest.fixture(name="path")
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "signing.jwk"


def test_a_key_is_the_same_at_the_next_start(path: Path) -> None:
    first = SigningKeys(path).key
    assert SigningKeys(path).key.as_dict(private=True) == first.as_dict(private=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_next_one_is_known_before_it_is_used_and_the_last_after_it(path: Path) -> None:
    keys = SigningKeys(path)
    first = keys.key.kid
    assert kids(keys) == [first]
    prepare(path, new_key())
    assert keys.key.kid == first
    assert len(kids(keys)) == 2
    turn(path, 60, public_part)
    second = keys.key.kid
    assert second != first
    assert kids(keys) == [second, first]
    assert kids(SigningKeys(path)) == [second, first]
    assert b'"d"' not in before(path).read_bytes(), "what signed before signs no more"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(before(path).stat().st_mode) == 0o600
    assert not following(path).exists()


def test_what_was_before_ends(path: Path) -> None:
    keys = SigningKeys(path)
    prepare(path, new_key())
    turn(path, 60, public_part)
    turning.put(before(path), before(path).read_bytes().partition(b"\n")[0] + b"\n" + str(time.time()).encode())
    assert kids(keys) == [keys.key.kid]
    turning.forget(path)
    assert not before(path).exists()
    prepare(path, new_key())
    turn(path, 60, public_part)
    turning.forget(path)
    assert before(path).exists(), "this one counts"


def test_a_change_that_was_stopped_goes_on_with_the_same_key(path: Path) -> None:
    keys = SigningKeys(path)
    prepare(path, new_key())
    laid = following(path).read_bytes()
    prepare(path, new_key())
    turn(path, 60, public_part)
    assert path.read_bytes() == laid
    with pytest.raises(StillTurning, match="--leaked"):
        prepare(path, new_key())
    assert len(kids(keys)) == 2


def test_a_leaked_key_is_gone_at_once(path: Path) -> None:
    keys = SigningKeys(path)
    prepare(path, new_key())
    turn(path, 60, public_part)
    turning.put(following(path), leaked := new_key())
    prepare(path, new_key(), leaked=True)
    turn(path, 0)
    assert kids(keys) == [keys.key.kid]
    assert path.read_bytes() != leaked


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"no key", b'{"kty": "OKP"}', b"\xff"])
def test_what_is_no_key_changes_nothing(path: Path, content: bytes) -> None:
    keys = SigningKeys(path)
    first = keys.key.kid
    turning.put(path, content)
    assert kids(keys) == [first]
    path.unlink()
    assert keys.key.kid == first
    turning.put(path, new_key())
    assert keys.key.kid != first
    turning.put(path, content)
    with pytest.raises(NotAKey):
        SigningKeys(path)


def test_from_an_empty_secret_nothing_follows(tmp_path: Path) -> None:
    roles = Roles.load(tmp_path)
    password = roles.password("referral_api")
    turning.put(secret_file(tmp_path), b"\n")
    assert roles.password("referral_api") == password
    with pytest.raises(NotAKey):
        Roles.load(tmp_path)


def test_passwords_and_keys_of_both_secrets_count_while_one_becomes_the_other(tmp_path: Path) -> None:
    path, roles = secret_file(tmp_path), Roles.load(tmp_path)
    old = roles.password("referral_api"), roles.key("fingerprints")
    prepare(path, new_secret())
    assert (roles.passwords("referral_api")[0], roles.keys("fingerprints")[0]) == old
    new = roles.passwords("referral_api")[1], roles.keys("fingerprints")[1]
    turn(path, 60)
    assert roles.passwords("referral_api") == [new[0], old[0]]
    assert roles.keys("fingerprints") == [new[1], old[1]]


async def test_a_reader_takes_what_is_signed_at_every_moment_of_a_change(path: Path) -> None:
    """A reader that looked just before the change knows the next key only by looking again; it may do so, for its last
    look is older than the lead."""
    signer = Signer(SigningKeys(path), "https://issuer.example")
    looks = 0

    async def fetch() -> dict[str, Any]:
        nonlocal looks
        looks += 1
        return signer.public_keys()

    verifier = Verifier(signer.issuer, AUDIENCE, fetch)

    async def shown(token: str) -> object:
        return (await verifier.claims(token))["sub"]

    def signed(name: str) -> str:
        return signer.sign(Kind.ACCESS, AUDIENCE, 60, {"sub": name})

    first = signed("first")
    assert await shown(first) == "first"
    prepare(path, new_key())
    assert await shown(signed("before")) == "before"
    verifier._looked -= turning.LEAD_S
    turn(path, 60, public_part)
    assert await shown(signed("after")) == "after"
    assert await shown(first) == "first", "what lives that the old one signed is still taken"
    assert looks == 2
    before(path).unlink()
    verifier._looked -= turning.LEAD_S
    with pytest.raises(Refusal, match="bad-token"):
        await shown(
            Signer(turning.new_signing_key(), signer.issuer).sign(Kind.ACCESS, AUDIENCE, 60, {"sub": "stranger"})
        )
    with pytest.raises(Refusal, match="bad-token"):
        await shown(first)
