"""Who is shut out is shut out at once: a suspended organisation, a revoked system."""

from __future__ import annotations

import logging

import pytest

from services.cli.client import ApiProblem, Partner
from tests.builders import eventually
from tests.security.answers import code_of
from tests.security.operations import Stage
from tests.security.test_tokens import assertion_of, sign_in


async def test_a_suspended_organisations_token_opens_nothing(stage: Stage) -> None:
    gone = await stage.world.organisation("Soon suspended", "ngo", ["referral:receive", "intake:send"])
    token = await gone.partner.token()
    headers = {"Authorization": f"Bearer {token}"}
    assert (await stage.client.get("/referral/offers", headers=headers)).status_code == 200
    await stage.world.admin.post(f"/referral/organisations/{gone.id}/suspend")
    assert code_of(await stage.client.get("/referral/offers", headers=headers)) == "suspended"
    with pytest.raises(ApiProblem, match="bad-client"):
        await Partner(stage.world.made.url, gone.partner.client_id, gone.partner._key).token()


async def test_a_revoked_system_signs_in_no_more(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    gone = await stage.world.organisation("Soon revoked", "ngo", ["referral:receive"])
    assert (await sign_in(stage, assertion_of(stage, gone.partner))).status_code == 200
    await stage.world.admin.post(f"/referral/clients/{gone.partner.client_id}/revoke")
    caplog.set_level(logging.INFO)
    assert code_of(await sign_in(stage, assertion_of(stage, gone.partner))) == "bad-client"

    async def logged() -> bool:
        """By its class: who it was stands nowhere."""
        said = [(getattr(one, "route", None), getattr(one, "reason", None)) for one in caplog.records]
        return ("/referral/oauth/token", "bad-client") in said

    await eventually(logged)
    ours = [one.__dict__ for one in caplog.records if one.name.startswith(("spean", "services"))]
    assert gone.partner.client_id not in str(ours)
