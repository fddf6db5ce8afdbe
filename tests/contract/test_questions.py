"""Questions: the holder answers one that says more than it knows, and refuses one that says too little."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model

from schemas import contracts
from schemas import questions as q
from services.intake.main import api
from spean.ask import Holders
from spean.auth import Kind, Signer
from tests.builders import World
from tests.contract.documents import documents, valid

NOW = contracts.current()
MODELS = {name: model for name, model in contracts.models().items() if name.endswith((".question.v1", ".answer.v1"))}
FACTS = {
    "organisation": str(uuid4()), "type": "shelter", "country": "KH", "law_enforcement": False, "status": "active",
}  # fmt: skip


def test_every_question_has_its_door_at_the_holder() -> None:
    paths = api().openapi()["paths"]
    assert {path.removeprefix("/questions/") for path in paths if path.startswith("/questions/")} == q.QUESTIONS.keys()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", MODELS)
def test_what_a_reader_must_understand_it_reads(name: str, data: st.DataObject) -> None:
    document = {**data.draw(documents(NOW[name].reader)), "a_later_field": 1}
    assert valid(document, NOW[name].reader)
    assert not valid(document, NOW[name].writer)
    assert MODELS[name].model_validate_json(json.dumps(document), extra="ignore")


async def test_a_newer_network_is_answered(world: World) -> None:
    """A field more, at the top and inside: the holder reads what it knows."""
    facts = create_model("Facts", __base__=q.OrganisationFacts, licence=(str, "later"))
    question = create_model("Question", __base__=q.MayAcceptQuestion, organisation=(facts, ...), hurry=(bool, True))
    asked = question(
        organisation=facts.model_validate(FACTS),
        offer=uuid4(),
        referral=uuid4(),
        place=uuid4(),
        eligibility=q.Eligibility(),
    )
    holders: Holders = world.made.services["referral"].app.state.holders
    answer = await holders.ask(world.made.settings.holder, "may-accept", asked, q.MayAcceptAnswer)
    assert answer.allowed is False


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"organisation": FACTS}, 422),
        ({"organisation": {**FACTS, "country": "nowhere"}, "offers": []}, 422),
        ([], 422),
        ({"organisation": FACTS, "offers": [], "more": "canary-text"}, 200),
    ],
)
async def test_a_question_that_says_too_little_is_a_problem(world: World, body: Any, status: int) -> None:
    signer: Signer = world.made.services["referral"].app.state.signer
    about = {"scope": "question", "sub": "referral"}
    token = signer.sign(Kind.QUESTION, f"holder:{world.made.settings.holder}", 60, about)
    async with httpx.AsyncClient(
        base_url=world.made.url, headers={"Authorization": f"Bearer {token}"}, timeout=15
    ) as client:
        reply = await client.post("/intake/questions/readable-offers", json=body)
    assert reply.status_code == status
    assert "canary-text" not in reply.text
    assert "nowhere" not in reply.text
    if status == 422:
        assert reply.json()["type"].endswith("/invalid")
        assert reply.json()["errors"]
