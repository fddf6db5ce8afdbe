"""Questions to several holders: one that never answers takes nothing of another's."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from schemas import questions as q
from spean.ask import AT_ONCE, Holders, HolderSilent
from tests.builders import World, eventually
from tests.integration.apart import Way


async def test_a_holder_answers_while_another_keeps_all_its_questions_waiting(world: World) -> None:
    question, way = q.NextCandidateQuestion(referral=uuid4(), candidates=()), Way()
    way.mode = "mute"
    async with way.standing():
        addresses = {"main": f"{world.made.url}/intake", "mute": f"http://127.0.0.1:{way.port}/intake"}
        holders = Holders(addresses, world.made.services["referral"].app.state.signer)

        async def ask(holder: str) -> q.NextCandidateAnswer:
            return await holders.ask(holder, "next-candidate", question, q.NextCandidateAnswer)

        async def all_wait() -> bool:
            return len(way._under_way) == AT_ONCE

        waiting = [asyncio.create_task(ask("mute")) for _ in range(AT_ONCE)]
        try:
            await eventually(all_wait)
            answers = asyncio.create_task(ask("main"))
            done, _ = await asyncio.wait([answers, *waiting], return_when=asyncio.FIRST_COMPLETED)
            assert answers in done
            assert (await answers).place is None
            silent = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(one) for one in silent} == {HolderSilent}
        finally:
            await holders.close()
