"""How a packet leaves for a system that has a key for sealing: never in the clear."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi import Response
from joserfc.jwk import OKPKey

from schemas.questions import PacketTicket
from spean import sealing
from spean.http import Reply, View, read_reply
from spean.problem import Refusal

log = logging.getLogger(__name__)
_TEXT = {"type": "string"}
# What an answer may be besides plain JSON, for the document of this service.
DOCUMENTED: dict[int | str, dict[str, Any]] = {200: {"content": {sealing.MEDIA_TYPE: {"schema": {
    "type": "object", "required": ["protected", "payload", "signature"], "title": "SealedPacket",
    "description": "A JWS (flattened JSON) over the packet as HPKE sealed it; see the partner's guide.",
    "properties": {"protected": _TEXT, "payload": _TEXT, "signature": _TEXT},
}}}}}  # fmt: skip


class KeysView(View):
    """A JSON Web Key Set (RFC 7517)."""

    keys: tuple[dict[str, str], ...]


def renderer(ticket: PacketTicket, signing_key: OKPKey) -> Callable[[Reply], Response]:
    """How this ticket's packet is written. Raises Refusal `bad-token` for a key that nothing can be sealed to: such as of a
    kind that only a newer holder knows."""
    if ticket.seal_to is None:
        return read_reply
    try:
        to = sealing.public_key(ticket.seal_to.model_dump(exclude_none=True))
    except sealing.NoKey:
        log.warning("a packet was asked for that nothing can be sealed for", extra={"error_class": "NoKey"})
        raise Refusal("bad-token") from None
    about = sealing.About(ticket.offer, ticket.facts.organisation)

    def sealed(reply: Reply) -> Response:
        answer = read_reply(reply)
        envelope = sealing.seal(bytes(answer.body), to, about, signing_key, time.time())
        headers = {"ETag": answer.headers["ETag"]} if "ETag" in answer.headers else {}
        return Response(envelope, answer.status_code, headers, media_type=sealing.MEDIA_TYPE)

    return sealed
