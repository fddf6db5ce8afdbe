"""Bad input about consent and what stands in for it: refused by its class, which the log says, and nothing of what was sent."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from spean.problem import REFUSALS
from tests.builders import World, eventually
from tests.integration.holder import refused, shared_world  # noqa: F401 (fixtures)

CANARY = "canary-5f0e"
CONSENTS, BASES = "/intake/entries/{entry}/consents", "/intake/entries/{entry}/bases"
GUARDIAN = {"relationship": "parent", "expressed": "spoken"}
SAID = {"decision": "share_referral", "state": "given", "expressed": "spoken", "language": "khm", "notice": "1-khm",
        "categories": ["functional_needs"], "purposes": ["referral"], "recipients": {"classes": [{"type": "shelter"}]}}  # fmt: skip
MARKED = {"kind": "vital_interest", "justification": f"She is {CANARY} and nobody else.", "acting_for": CANARY,
          "recipients": {"classes": [{"type": "shelter"}]}}  # fmt: skip


def _soon(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def test_every_class_of_bad_input_is_in_the_log_and_nothing_of_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    entry, sender = await world.entry(age_years=15), world.sender.partner
    at = f"/intake/entries/{entry}"
    basis = (await sender.post(f"{at}/bases", MARKED))["id"]
    own = {"organisations": [str(uuid4())]}
    tries: list[tuple[str, str, str, dict[str, Any]]] = [
        ("consent-dates", CONSENTS, "consents", {**SAID, "valid_from": _soon(1)}),
        ("consent-contradictory", CONSENTS, "consents", {**SAID, "categories": []}),
        ("guardian-self", CONSENTS, "consents", {**SAID, "guardian": {**GUARDIAN, "entry": entry}}),
        ("guardian-suspected", CONSENTS, "consents", {**SAID, "guardian": {**GUARDIAN, "suspected": True}}),
        ("notice-unknown", CONSENTS, "consents", {**SAID, "notice": f"1-{CANARY}"}),
        ("notice-language", CONSENTS, "consents", {**SAID, "notice": "1-eng"}),
        ("recipient-unknown", CONSENTS, "consents", {**SAID, "recipients": own}),
        ("invalid", CONSENTS, "consents", {**SAID, "recipients": {"classes": [{"type": CANARY}]}}),
        ("recipient-unknown", BASES, "bases", {**MARKED, "recipients": own}),
        ("same-person", f"{BASES}/{{basis}}/decide", f"bases/{basis}/decide",
         {"agrees": True, "reasons": f"As {CANARY} I said.", "acting_for": CANARY.upper()}),
    ]  # fmt: skip
    routes = [route for _, route, _, _ in tries]
    for code, _, path, body in tries:
        with refused(code):
            await sender.post(f"{at}/{path}", body)

    async def logged() -> bool:
        """Each answer leaves before its line is written; of other addresses others may be refused meanwhile."""
        lines = [one.__dict__ for one in caplog.records if one.getMessage() == "request refused"]
        found = [(one["reason"], one["route"], one["status"]) for one in lines if one["route"] in routes]
        return found == [(code, route, REFUSALS[code][0]) for code, route, _, _ in tries]

    await eventually(logged)
    lines = str([one.__dict__ for one in caplog.records if one.name.startswith(("spean", "services"))])
    assert not [one for one in (CANARY, CANARY.upper(), entry) if one in lines]
