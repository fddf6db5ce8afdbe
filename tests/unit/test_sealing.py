"""Sealed packets: two other readers of the same standards open them, and whatever is changed in one keeps it shut."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from joserfc import jws
from joserfc.jwk import OKPKey

from spean import sealing
from spean.sealing import About, NoKey, PrivateKey, Suite, Unopened, Why

VECTORS = json.loads((Path(__file__).parent / "sealed_packets.json").read_text(encoding="utf-8"))
OPENER_FILE = Path(__file__).parents[2] / "docs" / "partners" / "open_packet.py"
OPENER = runpy.run_path(str(OPENER_FILE))
HOLDER = OKPKey.generate_key("Ed25519", auto_kid=True)
SIGNER = HOLDER.raw_value
SIGNERS: dict[str, Ed25519PublicKey] = {str(HOLDER.kid): SIGNER.public_key()}
NOW = 1_800_000_000
ABOUT = About(uuid4(), uuid4())
PACKET = b'{"members": [{"given_name": "Canary"}]}'
OWN = {suite: PrivateKey(suite, bytes([number]) * 32) for number, suite in enumerate(Suite, 1)}
RING = {key.public.id: key for key in OWN.values()}
both = pytest.mark.parametrize("suite", list(Suite))


def sealed(suite: Suite) -> dict[str, str]:
    found: dict[str, str] = json.loads(sealing.seal(PACKET, OWN[suite].public, ABOUT, HOLDER, NOW))
    return found


def opened(envelope: dict[str, Any], **other: Any) -> bytes:
    given = {"own": RING, "signers": SIGNERS, "about": ABOUT, "now": NOW, **other}
    return sealing.open_sealed(json.dumps(envelope).encode(), **given)


def why(envelope: dict[str, Any], **other: Any) -> Why:
    with pytest.raises(Unopened) as caught:
        opened(envelope, **other)
    assert "Canary" not in repr(caught.value)
    return caught.value.why


def signed(envelope: dict[str, str], **header: Any) -> dict[str, str]:
    """The envelope with another header, signed with the holder's own key."""
    says = {**json.loads(sealing._bytes(envelope["protected"])), **header}
    protected = sealing._text(json.dumps(says).encode())
    signature = sealing._text(SIGNER.sign(f"{protected}.{envelope['payload']}".encode()))
    return {**envelope, "protected": protected, "signature": signature}


def private_jwk(key: PrivateKey) -> dict[str, str]:
    return {**key.public.jwk, "d" if key.suite is Suite.X25519 else "priv": sealing._text(key.secret)}


# --- other readers ------------------------------------------------------------------------------------------------


def _extract(salt: bytes, secret: bytes) -> bytes:
    made = hmac.HMAC(salt or bytes(32), hashes.SHA256())
    made.update(secret)
    return made.finalize()


def _labelled(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + secret)


def _expanded(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    whole = length.to_bytes(2) + b"HPKE-v1" + suite + label + info
    return HKDFExpand(hashes.SHA256(), length, whole).derive(secret)


def by_the_book(secret: bytes, sealed_: bytes, info: bytes) -> bytes:
    """RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, written from its text."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    key = X25519PrivateKey.from_private_bytes(secret)
    point, sealed_ = sealed_[:32], sealed_[32:]
    agreed = _labelled(kem, b"", b"eae_prk", key.exchange(X25519PublicKey.from_public_bytes(point)))
    shared = _expanded(kem, agreed, b"shared_secret", point + key.public_key().public_bytes_raw(), 32)
    context = b"\x00" + _labelled(suite, b"", b"psk_id_hash", b"") + _labelled(suite, b"", b"info_hash", info)
    schedule = _labelled(suite, shared, b"secret", b"")
    nonce = _expanded(suite, schedule, b"base_nonce", context, 12)
    return AESGCM(_expanded(suite, schedule, b"key", context, 32)).decrypt(nonce, sealed_, b"")


def test_the_standard_itself_opens_it() -> None:
    envelope = sealed(Suite.X25519)
    info = b"spean sealed packet\x00" + envelope["protected"].encode()
    assert by_the_book(OWN[Suite.X25519].secret, sealing._bytes(envelope["payload"]), info) == PACKET


@both
def test_any_reader_of_signed_json_reads_the_signature(suite: Suite) -> None:
    open_to_names = jws.JWSRegistry(algorithms=["Ed25519"], strict_check_header=False)
    public = OKPKey.import_key(HOLDER.as_dict(private=False))
    read = jws.deserialize_json(sealed(suite), public, registry=open_to_names)
    assert read.headers()["suite"] == suite
    assert PACKET not in read.payload


@pytest.mark.parametrize("kept", VECTORS, ids=lambda kept: kept["suite"])
def test_what_was_sealed_once_opens_for_good(kept: dict[str, Any]) -> None:
    key = PrivateKey(Suite(kept["suite"]), bytes.fromhex(kept["secret"]))
    assert (key.public.jwk, key.public.id) == (kept["jwk"], kept["key_id"])
    signer = OKPKey.import_key(kept["holder"]).raw_value
    about = About(UUID(kept["offer"]), UUID(kept["organisation"]))
    given = {"own": {key.public.id: key}, "signers": {kept["holder"]["kid"]: signer}, "about": about}
    assert opened(kept["envelope"], **given, now=kept["now"]) == kept["packet"].encode()
    mine, holder = [private_jwk(key)], [kept["holder"]]
    said = OPENER["open_packet"](kept["envelope"], mine, holder, kept["offer"], kept["organisation"], kept["now"])
    assert said == kept["packet"].encode()


def test_the_hybrids_key_is_the_one_of_its_specification() -> None:
    """X-Wing's first test vector: the public key's both ends."""
    secret = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    raw = PrivateKey(Suite.HYBRID, secret).public.raw.hex()
    assert raw.startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3d")
    assert raw.endswith("4570216223593d4ba32d9abac8cd049040ef6534")


def test_a_key_has_the_name_that_others_give_it() -> None:
    key = OWN[Suite.X25519].public
    assert key.id == OKPKey.import_key(key.jwk).thumbprint()
    for own in OWN.values():
        assert OPENER["thumbprint"](private_jwk(own)) == own.public.id
        assert sealing.public_key(own.public.jwk) == own.public


# --- changed ------------------------------------------------------------------------------------------------------


@both
def test_no_letter_can_be_changed(suite: Suite) -> None:
    envelope = sealed(suite)
    assert opened(envelope) == PACKET
    for name, text in envelope.items():
        for at in range(len(text)):
            changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            assert why({**envelope, name: changed}) in {Why.WRONG_SIGNATURE, Why.NO_ENVELOPE, Why.UNKNOWN_SIGNER}
        assert why({**envelope, name: ""}) in {Why.WRONG_SIGNATURE, Why.NO_ENVELOPE}


@both
def test_a_signature_has_one_spelling(suite: Suite) -> None:
    """64 bytes leave four bits of the last letter unused: no other letter stands for the same."""
    envelope = sealed(suite)
    last = envelope["signature"][-1]
    assert last in "AQgw"
    assert why({**envelope, "signature": envelope["signature"][:-1] + chr(ord(last) + 1)}) is Why.NO_ENVELOPE


REFUSED: list[tuple[dict[str, Any], Why]] = [
    ({"v": 2}, Why.UNKNOWN_VERSION),
    ({"kid": "another"}, Why.UNKNOWN_SIGNER),
    ({"suite": "HPKE-P256-SHA256-A128GCM"}, Why.UNKNOWN_SUITE),
    ({"to": "A" * 43}, Why.ROTATED_OUT),
    ({"recipient": str(uuid4())}, Why.WRONG_RECIPIENT),
    ({"offer": str(uuid4())}, Why.WRONG_OFFER),
    ({"exp": NOW - sealing.LEEWAY_S}, Why.EXPIRED),
    ({"exp": NOW + 3_600}, Why.WRONG_CLOCK),
    ({"exp": NOW + sealing.SEALED_S + sealing.LEEWAY_S}, Why.TAMPERED),
    ({}, Why.TAMPERED),  # the same, spelled in another way
    ({"alg": "none"}, Why.NO_ENVELOPE),
    ({"typ": "at+jwt"}, Why.NO_ENVELOPE),
    ({"crit": ["more"]}, Why.NO_ENVELOPE),
]


@both
@pytest.mark.parametrize(("header", "expected"), REFUSED)
def test_no_part_can_be_changed_even_by_who_signs(suite: Suite, header: dict[str, Any], expected: Why) -> None:
    assert why(signed(sealed(suite), **header)) is expected


@both
def test_what_is_inside_cannot_be_changed_even_by_who_signs(suite: Suite) -> None:
    envelope = sealed(suite)
    raw = sealing._bytes(envelope["payload"])
    for at in (0, 31, len(raw) // 2, len(raw) - 1):
        broken = sealing._text(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        protected = envelope["protected"]
        signature = sealing._text(SIGNER.sign(f"{protected}.{broken}".encode()))
        assert why({"protected": protected, "payload": broken, "signature": signature}) is Why.TAMPERED


@both
def test_whoever_signs_it_anew_as_their_own_opens_nothing(suite: Suite) -> None:
    """A partner passes on what the holder sealed for another, under a name that the other trusts as well."""
    other = Ed25519PrivateKey.generate()
    envelope = sealed(suite)
    header = json.loads(sealing._bytes(envelope["protected"]))
    protected = sealing._text(json.dumps({**header, "kid": "other"}).encode())
    signature = sealing._text(other.sign(f"{protected}.{envelope['payload']}".encode()))
    taken = {**envelope, "protected": protected, "signature": signature}
    assert why(taken, signers={**SIGNERS, "other": other.public_key()}) is Why.TAMPERED
    assert why(envelope, signers={str(HOLDER.kid): other.public_key()}) is Why.WRONG_SIGNATURE


@both
def test_it_opens_for_what_was_asked_and_while_it_lasts(suite: Suite) -> None:
    envelope = sealed(suite)
    assert why(envelope, about=replace(ABOUT, offer=uuid4())) is Why.WRONG_OFFER
    assert why(envelope, about=replace(ABOUT, recipient=uuid4())) is Why.WRONG_RECIPIENT
    last = NOW + sealing.SEALED_S + sealing.LEEWAY_S
    assert opened(envelope, now=last - 1) == PACKET
    assert why(envelope, now=last) is Why.EXPIRED
    # A clock that is slow: what is behind is taken, what is far behind is said.
    assert opened(envelope, now=NOW - sealing.LEEWAY_S) == PACKET
    assert why(envelope, now=NOW - sealing.LEEWAY_S - 1) is Why.WRONG_CLOCK


def test_a_weaker_suite_is_refused() -> None:
    weak, strong = sealed(Suite.X25519), sealed(Suite.HYBRID)
    assert why(weak, least=Suite.HYBRID) is Why.DOWNGRADED
    assert opened(strong, least=Suite.HYBRID) == PACKET
    assert why(signed(strong, suite=Suite.X25519.value)) is Why.DOWNGRADED
    assert why(signed(weak, suite=Suite.HYBRID.value)) is Why.DOWNGRADED


@both
def test_a_key_that_was_rotated_out_opens_nothing(suite: Suite) -> None:
    envelope, following = sealed(suite), PrivateKey(suite, b"\x09" * 32)
    assert why(envelope, own={following.public.id: following}) is Why.ROTATED_OUT
    assert why(envelope, own={OWN[suite].public.id: following}) is Why.TAMPERED
    assert opened(envelope, own={**RING, following.public.id: following}) == PACKET


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b'{"protected": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_envelope_is_none(text: bytes) -> None:
    with pytest.raises(Unopened) as caught:
        sealing.open_sealed(text, RING, SIGNERS, ABOUT, NOW)
    assert caught.value.why is Why.NO_ENVELOPE


OPENER_REFUSES: list[tuple[Callable[[dict[str, str]], dict[str, str]], str]] = [
    (lambda e: signed(e, v=2), "unknown-version"),
    (lambda e: signed(e, typ="at+jwt"), "unknown-version"),
    (lambda e: signed(e, kid="another"), "unknown-signer"),
    (lambda e: signed(e, suite="none"), "unknown-suite"),
    (lambda e: signed(e, to="A" * 43), "rotated-out"),
    (lambda e: signed(e, recipient=str(uuid4())), "wrong-recipient"),
    (lambda e: signed(e, offer=str(uuid4())), "wrong-offer"),
    (lambda e: signed(e, exp=NOW - 60), "expired"),
    (lambda e: signed(e, exp=NOW + 3_600), "wrong-clock"),
    (lambda e: signed(e, exp=NOW + 301), "tampered"),
    (lambda e: signed(e, exp="soon"), "no-envelope"),
    (lambda e: {**e, "payload": e["payload"][:-4] + "AAAA"}, "wrong-signature"),
    (lambda e: {**e, "signature": "A" * 86}, "wrong-signature"),
    (lambda e: {**e, "protected": "e30"}, "no-envelope"),
    (lambda e: {**e, "protected": e["protected"][:-3]}, "no-envelope"),
    (lambda e: {"payload": e["payload"], "signature": e["signature"]}, "no-envelope"),
]


@both
@pytest.mark.parametrize(("change", "said"), OPENER_REFUSES)
def test_the_partners_opener_refuses_the_same(
    suite: Suite, change: Callable[[dict[str, str]], dict[str, str]], said: str
) -> None:
    mine, holder = [private_jwk(OWN[suite])], [HOLDER.as_dict(private=False)]
    asked = (str(ABOUT.offer), str(ABOUT.recipient), NOW)
    envelope = sealed(suite)
    assert OPENER["open_packet"](envelope, mine, holder, *asked) == PACKET
    with pytest.raises(OPENER["Refused"]) as caught:
        OPENER["open_packet"](change(envelope), mine, holder, *asked)
    assert str(caught.value) == said
    other = Suite.HYBRID if suite is Suite.X25519 else Suite.X25519
    with pytest.raises(OPENER["Refused"], match="downgraded"):
        OPENER["open_packet"](signed(envelope, suite=other.value), mine, holder, *asked)
    if suite is Suite.X25519:
        with pytest.raises(OPENER["Refused"], match="downgraded"):
            OPENER["open_packet"](envelope, mine, holder, *asked, Suite.HYBRID.value)
    else:
        assert OPENER["open_packet"](envelope, mine, holder, *asked, Suite.HYBRID.value) == PACKET


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        ([], "", "packet"),
        (["--least", "hybrid"], "", "downgraded"),
        (["--leest", "hybrid"], "", "python open_packet.py KEYS"),
        ([], "[", "no-envelope"),
        ([], "[]", "no-envelope"),
    ],
)
def test_the_partners_opener_says_one_word_and_opens_nothing(
    tmp_path: Path, words: list[str], given: str, said: str
) -> None:
    about = About(uuid4(), uuid4())
    envelope = sealing.seal(b"the packet", OWN[Suite.X25519].public, about, HOLDER, time.time()).decode()
    for name, key in (("own", private_jwk(OWN[Suite.X25519])), ("holder", HOLDER.as_dict(private=False))):
        (tmp_path / name).write_text(json.dumps({"keys": [key]}))
    asked = ["own", "holder", str(about.offer), str(about.recipient), *words]
    done = subprocess.run(
        [sys.executable, "-I", str(OPENER_FILE), *asked], input=(given or envelope).encode(), cwd=tmp_path, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    if said == "packet":
        assert (done.returncode, done.stdout, done.stderr) == (0, b"the packet", b"")
    else:
        assert (done.returncode, done.stdout) == (1, b"")
        assert said in done.stderr.decode()
        assert "Traceback" not in done.stderr.decode()


# --- keys ---------------------------------------------------------------------------------------------------------

_WEAK_POINT = {"kty": "OKP", "crv": "X25519", "x": "A" * 43}
_HYBRID = OWN[Suite.HYBRID].public


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43},
        {"kty": "OKP", "crv": "X25519"},
        _WEAK_POINT,
        {**_WEAK_POINT, "x": "CQ"},
        {**_WEAK_POINT, "x": 1},
        {**OWN[Suite.X25519].public.jwk, "x": OWN[Suite.X25519].public.jwk["x"] + "="},
        {**_HYBRID.jwk, "alg": "ML-DSA-65"},
        {**_HYBRID.jwk, "pub": sealing._text(_HYBRID.raw[:-1])},
        {**_HYBRID.jwk, "pub": sealing._text(b"\xff" * 1184 + _HYBRID.raw[1184:])},
        {**_HYBRID.jwk, "pub": sealing._text(_HYBRID.raw[:1184] + bytes(32))},
    ],
)
def test_nothing_is_sealed_to_what_is_no_key(jwk: dict[str, Any]) -> None:
    with pytest.raises(NoKey):
        sealing.public_key(jwk)
