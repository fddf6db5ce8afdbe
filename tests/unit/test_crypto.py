"""Sealing: opens with its key, in its place, unchanged, and not otherwise; keys in files that are ours alone."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spean.crypto import KEY_BYTES, Unopenable, digits, new_key, private_file, seal, unseal

KEY = new_key()


@given(plain=st.binary(max_size=200), context=st.text(max_size=40))
def test_what_is_sealed_opens_with_its_key_in_its_place(plain: bytes, context: str) -> None:
    assert unseal(KEY, seal(KEY, plain, context), context) == plain


@given(plain=st.binary(min_size=8, max_size=60), data=st.data())
def test_a_changed_bit_anywhere_does_not_open(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, plain, "entry/1/fields/1"))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(Unopenable):
        unseal(KEY, bytes(sealed), "entry/1/fields/1")


@pytest.mark.parametrize("context", ["", "entry/2/fields/1", "entry/1/fields/2", "Entry/1/fields/1"])
def test_another_place_does_not_open(context: str) -> None:
    with pytest.raises(Unopenable):
        unseal(KEY, seal(KEY, b"asthma", "entry/1/fields/1"), context)


def test_another_key_does_not_open() -> None:
    with pytest.raises(Unopenable):
        unseal(new_key(), seal(KEY, b"asthma", "here"), "here")


@pytest.mark.parametrize("kept", range(29))
def test_what_is_cut_short_does_not_open(kept: int) -> None:
    with pytest.raises(Unopenable):
        unseal(KEY, seal(KEY, b"asthma", "here")[:kept], "here")


def test_the_same_text_is_never_sealed_the_same_way() -> None:
    assert len({seal(KEY, b"asthma", "here") for _ in range(100)}) == 100
    assert all(b"asthma" not in seal(KEY, b"asthma", "here") for _ in range(100))


def test_keys_are_long_and_different() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {KEY_BYTES}


def test_codes_are_digits_of_the_length_asked_for() -> None:
    codes = {digits(6) for _ in range(200)}
    assert all(len(code) == 6 and code.isascii() and code.isdigit() for code in codes)
    assert len(codes) > 190
    assert any(code.startswith("0") for code in {digits(2) for _ in range(500)})


def test_a_private_file_is_ours_alone_and_the_first_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "kek-1"
    assert private_file(path, b"first") == b"first"
    assert private_file(path, b"second") == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["kek-1"]


def test_all_who_start_at_once_agree_on_one_content(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "kek-1"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda number: private_file(path, str(number).encode()), range(32)))
    assert found == {path.read_bytes()}
