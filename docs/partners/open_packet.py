"""Open a packet that a holder has sealed for your system. Yours to copy: it needs Python 3.11 and `cryptography` alone.

    python open_packet.py KEYS HOLDER_KEYS OFFER ORGANISATION [--least hybrid] < envelope

KEYS: your private keys (a JWK Set), while you change from one to the next both. HOLDER_KEYS: the holder's own, from its
`/.well-known/jwks.json`. OFFER: which one you asked for. ORGANISATION: your own id. `--least hybrid`: nothing weaker opens. The
packet goes to standard output; or one word that says why not to standard error, exit code 1.
"""

import base64
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

X25519, HYBRID = "HPKE-X25519-SHA256-A256GCM", "HPKE-MLKEM768X25519-SHA256-A256GCM"
KEMS = {X25519: KEM.X25519, HYBRID: KEM.MLKEM768_X25519}
SEALED_S, LEEWAY_S = 300, 5
Jwk = dict[str, Any]


class Refused(Exception):
    """Do not use what came; the message says why. `unknown-signer`: fetch the holder's keys again, once."""


def need(true: bool, why: str) -> None:  # noqa: FBT001 (reads as a sentence)
    if not true:
        raise Refused(why)


def raw(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def private(key: Jwk) -> tuple[str, X25519PrivateKey | MLKEM768X25519PrivateKey]:
    """A key of yours and the one suite that it is for."""
    if key["kty"] == "OKP" and key["crv"] == "X25519":
        return X25519, X25519PrivateKey.from_private_bytes(raw(key["d"]))
    need(key["kty"] == "AKP" and key["alg"] == HYBRID, "not-my-kind-of-key")
    grown = hashlib.shake_256(raw(key["priv"])).digest(96)
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(grown[:64]), X25519PrivateKey.from_private_bytes(grown[64:])
    return HYBRID, MLKEM768X25519PrivateKey(lattice, curve)


def thumbprint(key: Jwk) -> str:
    """The name of a key (RFC 7638), as envelopes name it."""
    named = {name: key[name] for name in (("crv", "kty", "x") if key["kty"] == "OKP" else ("alg", "kty", "pub"))}
    digest = hashlib.sha256(json.dumps(named, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def open_packet(
    envelope: Jwk, own: list[Jwk], holder: list[Jwk], offer: str, organisation: str, now: float, least: str = X25519
) -> bytes:
    """The packet (JSON). Raises Refused."""
    try:
        protected, payload = envelope["protected"], envelope["payload"]
        says, keys = json.loads(raw(protected)), {thumbprint(key): key for key in own}
        signers = {key["kid"]: key["x"] for key in holder if key.get("crv") == "Ed25519"}
        need(says["kid"] in signers, "unknown-signer")
        signer = Ed25519PublicKey.from_public_bytes(raw(signers[says["kid"]]))
        signer.verify(raw(envelope["signature"]), f"{protected}.{payload}".encode())
        need((says["alg"], says["typ"], says["v"]) == ("Ed25519", "spean-sealed-packet+jws", 1), "unknown-version")
        need(says["suite"] in KEMS, "unknown-suite")
        need(says["suite"] in (least, HYBRID), "downgraded")
        need(says["to"] in keys, "rotated-out")
        suite, key = private(keys[says["to"]])
        need(says["suite"] == suite, "downgraded")
        need(says["recipient"] == organisation, "wrong-recipient")
        need(says["offer"] == offer, "wrong-offer")
        need(now < says["exp"] + LEEWAY_S, "expired")
        need(says["exp"] <= now + SEALED_S + LEEWAY_S, "wrong-clock")
        info = b"spean sealed packet\x00" + protected.encode()
        return Suite(KEMS[suite], KDF.HKDF_SHA256, AEAD.AES_256_GCM).decrypt(raw(payload), key, info)
    except InvalidSignature:
        raise Refused("wrong-signature") from None
    except InvalidTag:
        raise Refused("tampered") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("no-envelope") from None


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[5:] not in ([], ["--least", "hybrid"]):
        sys.exit(__doc__)
    mine, holders = (json.loads(Path(name).read_text(encoding="utf-8"))["keys"] for name in sys.argv[1:3])
    try:
        given, least = json.load(sys.stdin), HYBRID if sys.argv[5:] else X25519
        opened = open_packet(given, mine, holders, sys.argv[3], sys.argv[4], time.time(), least)
    except (Refused, ValueError) as error:
        sys.exit(str(error) if isinstance(error, Refused) else "no-envelope")
    sys.stdout.buffer.write(opened)
