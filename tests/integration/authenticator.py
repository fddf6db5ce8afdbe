"""A passkey in software: answers the two ceremonies as a browser does (WebAuthn level 3, "none" attestation, ES256), and
answers wrongly where a test asks for it. The browser tests use Chromium's own."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class SoftKey:
    """`origin` is the page's; `count` what the key's counter says next."""

    origin: str
    flags: int = USER_PRESENT | USER_VERIFIED
    count: int = 0
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: bytes = b""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """The answer to `navigator.credentials.create`."""
        self.handle = base64url_to_bytes(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        cose = encode_cbor({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)})
        attested = bytes(16) + len(self.credential).to_bytes(2) + self.credential + cose
        data = self._data(wrong.get("rp", options["rp"]["id"]), self.flags | ATTESTED) + attested
        answer = {
            "clientDataJSON": self._client("webauthn.create", options, wrong),
            "attestationObject": bytes_to_base64url(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return self._credential(answer)

    def get(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """The answer to `navigator.credentials.get`."""
        self.count += 1
        data = self._data(wrong.get("rp", options["rpId"]), self.flags)
        client = self._client("webauthn.get", options, wrong)
        signed = data + hashlib.sha256(base64url_to_bytes(client)).digest()
        key = wrong.get("signer", self.key)
        answer = {
            "clientDataJSON": client, "authenticatorData": bytes_to_base64url(data),
            "signature": bytes_to_base64url(key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            "userHandle": bytes_to_base64url(wrong.get("handle", self.handle)),
        }  # fmt: skip
        return self._credential(answer)

    def _data(self, rp: str, flags: int) -> bytes:
        return hashlib.sha256(rp.encode()).digest() + bytes([flags]) + self.count.to_bytes(4)

    def _client(self, kind: str, options: dict[str, Any], wrong: dict[str, Any]) -> str:
        client = {
            "type": wrong.get("type", kind), "challenge": wrong.get("challenge", options["challenge"]),
            "origin": wrong.get("origin", self.origin), "crossOrigin": False,
        }  # fmt: skip
        return bytes_to_base64url(json.dumps(client).encode())

    def _credential(self, answer: dict[str, Any]) -> dict[str, Any]:
        id_ = bytes_to_base64url(self.credential)
        return {
            "id": id_, "rawId": id_, "type": "public-key", "response": answer, "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
        }  # fmt: skip
