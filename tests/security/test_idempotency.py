"""A command carried out once, however often and however fast it is sent."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from tests.security.answers import ENTRY, code_of, with_key
from tests.security.operations import Stage


async def test_a_key_used_again_gives_the_first_answer_or_is_refused(stage: Stage) -> None:
    key = str(uuid4())
    first, again = await with_key(stage, key), await with_key(stage, key)
    assert first.status_code == 201
    assert (again.status_code, again.content, again.headers["etag"]) == (201, first.content, first.headers["etag"])
    assert code_of(await with_key(stage, key, body={**ENTRY, "area": "KH-2"})) == "key-reused"
    assert code_of(await with_key(stage, key, path="/intake/handoffs")) in {"key-reused", "invalid"}
    stranger = await stage.stranger.partner.post("/intake/entries", ENTRY, key=key)  # keys are each organisation's own
    assert stranger["id"] != first.json()["id"]


async def test_ten_at_once_with_one_key_are_carried_out_once(stage: Stage) -> None:
    key = str(uuid4())
    answers = await asyncio.gather(*(with_key(stage, key) for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert all(code_of(answer) == "key-running" for answer in answers if answer.status_code == 409)
