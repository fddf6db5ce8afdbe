"""What the threat model says is left, shown: whoever mends it changes this file and that page."""

from __future__ import annotations

import base64
import json
from uuid import uuid4

from spean.auth import ACCESS_TOKEN_S, Kind
from tests.security.operations import Stage


async def test_the_networks_key_opens_every_record(stage: Stage) -> None:
    """A token that nobody asked for, for the sender's organisation and a system that does not exist."""
    part = (await stage.stranger.partner.token()).split(".")[1]
    granted = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    said = {name: granted[name] for name in ("scope", "networks", "facts")} | {"sub": f"nobody-{uuid4().hex[:8]}"}
    path, read = f"/intake/entries/{stage.objects['entry']}", {}
    for org in (stage.people["sender"].id, stage.stranger.id):  # the second is the control
        token = stage.signer.sign(Kind.ACCESS, granted["aud"], ACCESS_TOKEN_S, {**said, "org": org})
        read[org] = await stage.client.get(path, headers={"Authorization": f"Bearer {token}"})
    assert [one.status_code for one in read.values()] == [200, 404]
    assert read[stage.people["sender"].id].json()["person"]["health_notes"] == "asthma"
