"""The path of identification at a desk: the next step, what does not follow, and how it came there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from schemas.rights import StaffRole
from tests.browser.meeting import ENTRIES
from tests.browser.visiting import walker
from tests.builders import World


async def test_the_next_step_is_recorded_and_what_does_not_follow_is_said_at_its_field(world: World) -> None:
    entry, today = await world.ready_person(), datetime.now(UTC).date()
    own = f"{ENTRIES}/{entry}/identification"
    first = {"status": "presumed", "decided_by": "police", "decided_on": today.isoformat(), "reference": "A 12/2026"}
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = await worker.click(await worker.get(f"{ENTRIES}/{entry}"), "Path of identification")
        assert "Nothing is recorded yet." in page.text
        offered = [one for one in ("possible", "presumed", "in_process") if f'name="status" value="{one}"' in page.html]
        assert offered == ["possible", "presumed"], "only what may follow"
        missing = await worker.send(page.form("/identification"))
        assert (missing.status, {"summary", "status", "decided_by", "decided_on"} <= missing.ids) == (422, True)
        later = (today + timedelta(days=9)).isoformat()
        wrong = await worker.send(
            page.form("/identification"), **{**first, "decided_by": "person", "decided_on": later}
        )
        assert wrong.status == 422
        assert "They do not decide this step" in wrong.text
        assert "This lies in the future." in wrong.text
        assert "A 12/2026" in wrong.html, "what was typed stays"
        done = await worker.send(wrong.form("/identification"), **first)
        assert (done.path, "The step is recorded." in done.text) == (own, True)
        assert f"{today.day} {today:%b %Y}" in done.text
        assert "The person has not agreed to be identified formally" in done.text
        again = await worker.send(done.form("/identification"), **first)
        assert "This step does not follow on the last one." in again.text
        refused = await worker.send(done.form("/identification"), **{**first, "status": "in_process"})
        assert (refused.status, "own yes to being identified formally is missing" in refused.text) == (422, True)
        await world.consent(entry, "identification")
        await worker.send(done.form("/identification"), **{**first, "status": "in_process"})
        person = await worker.get(f"{ENTRIES}/{entry}")
        assert "formal identification under way" in person.text
    async with walker(world, world.sender, StaffRole.SENDER, language="km") as worker:
        assert "ការកំណត់អត្តសញ្ញាណជាផ្លូវការកំពុងដំណើរការ" in (await worker.get(own)).text
