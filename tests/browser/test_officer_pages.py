"""The officer's own numbers and rules at their pages: read with what they would do, added, taken back; and a rule that ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas.rights import StaffRole
from services.cli.client import ApiProblem
from tests.browser.visiting import walker
from tests.builders import World, eventually

RETENTION, LIMITS = "/intake/pages/rules/retention", "/intake/pages/rules/limits"


async def test_a_rule_of_retention_is_read_with_what_it_does_and_can_be_taken_back(world: World) -> None:
    entry = UUID(await world.entry())
    async with world.made.services["intake"].db.transaction("test.old") as tx:
        await tx.conn.execute("update entry set created_at = now() - interval '30000 days' where id = $1", entry)
    body = {"applies": "met", "days": 29_900, "valid_from": (datetime.now(UTC) + timedelta(days=400)).isoformat()}
    made = await world.admin.post("/intake/retention", body)
    assert made["would_erase"] >= 1, "the only one that was met so long ago"
    await world.admin.post(f"/intake/retention/{made['id']}/cancel")
    with pytest.raises(ApiProblem, match="not-found"):
        await world.admin.post(f"/intake/retention/{made['id']}/cancel")
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        page = await officer.get(RETENTION)
        wrong = await officer.send(page.form("/check"), applies="met", group="health", days="30")
        assert (wrong.status, "Only a rule for after a hand-off names a service" in wrong.text) == (422, True)
        assert wrong.form("/check").get("days") == ["30"], "nothing typed is lost"
        # As long as everything else is kept, so that it can be added beside other tests.
        read = await officer.send(page.form("/check"), applies="met", group="", end="", days="29900")
        assert "is erased" in read.text or "are erased" in read.text
        assert "That cannot be undone" in read.text
        added = await officer.send(read.form("/add"))
        assert "until then it can be taken back" in added.text
        rules = (await world.admin.get("/intake/retention"))["rules"]
        mine = next(one["id"] for one in rules if one["days"] == 29_900 and one["cancelled_at"] is None)
        gone = await officer.send(added.form(f"/{mine}/cancel"))
        assert "The rule never begins" in gone.text
        assert f"{RETENTION}/{mine}/cancel" not in {form.action for form in gone.forms}
    async with walker(world, world.coordinator, StaffRole.ADMINISTRATOR) as other:
        looked = await other.get(RETENTION)
        assert (looked.status, [one.action for one in looked.forms if "retention" in one.action]) == (200, [])
    async with world.made.services["intake"].db.transaction("test.old") as tx:
        await tx.conn.execute("update entry set created_at = now() where id = $1", entry)


async def test_another_number_takes_the_place_of_the_last_and_the_history_stays(world: World) -> None:
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        page = await officer.get(f"{LIMITS}/best_interests_determination")
        assert page.form("/best_interests_determination").get("hours") == ["720"], "what counts now"
        for answers, said in (
            ({"people": "2"}, "This number is too small."),
            ({"people": "three"}, "Write a whole number"),
            ({"days": ""}, "Answer this question."),
            ({"hours": "99999"}, "This number is too large."),
        ):
            wrong = await officer.send(page.form("/best_interests_determination"), **answers)
            assert (wrong.status, said in wrong.text) == (422, True), answers
        done = await officer.send(page.form("/best_interests_determination"), people="4")
        assert "4 different people have to agree, within 720 hours; it lasts 365 days at most" in done.text
        assert "3 different people have to agree" in done.text
        counts = (await world.admin.get("/intake/limits"))["bases"]
        first = next(one for one in counts if one["kind"] == "best_interests_determination")
        assert (first["people"], first["decide_within_s"]) == (4, 2_592_000)
        again = await officer.get(f"{LIMITS}/best_interests_determination")
        await officer.send(again.form("/best_interests_determination"), people="3")
    over = {"people": 7, "valid_from": "2026-01-02T00:00:00Z"}
    with pytest.raises(ApiProblem, match="invalid"):
        await world.admin.post("/intake/limits/crowd", over)
    late = {"people": 7, "valid_from": "2101-01-01T00:00:00Z"}
    known = {one["valid_from"] for one in (await world.admin.get("/intake/limits"))["crowd"]}
    if "2101-01-01T00:00:00Z" not in known:
        await world.admin.post("/intake/limits/crowd", late)
    with pytest.raises(ApiProblem, match="duplicate"):
        await world.admin.post("/intake/limits/crowd", late)


async def test_a_rule_is_ended_after_it_was_read_once_more(world: World) -> None:
    body = {"from_country": "KH", "to_country": "CN", "categories": ["health"], "legal_basis": "sample: to be ended"}
    rule = (await world.admin.post("/intake/rules/corridors", body))["id"]
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        listed = await officer.get("/intake/pages/rules?kind=corridors")
        assert f"/intake/pages/rules/corridors/{rule}/end" in listed.links_to
        asked = await officer.get(f"/intake/pages/rules/corridors/{rule}/end")
        assert "sample: to be ended" in asked.text
        ended = await officer.send(asked.form(f"/{rule}/end"))
        assert "Nothing more is told by it" in ended.text
        over = await officer.get(f"/intake/pages/rules/corridors/{rule}/end")
        assert "It has ended already" in over.text
    kept = (await world.admin.get("/intake/rules/corridors"))["rules"]
    assert next(one["valid_until"] for one in kept if one["id"] == rule) is not None


async def test_a_late_copy_is_said_on_both_sides_and_called_by_the_number_that_the_packet_bore(world: World) -> None:
    house, entry = await world.house("Late house"), await world.ready_person()
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await world.state(handoff, "ready")
    async with walker(world, house, StaffRole.RECEIVER) as worker:
        shown = await worker.get(f"/referral/pages/offers/{offer}")
        assert offer[:8] in shown.text
        passed_on = await worker.send(shown.form(f"/offers/{offer}/packet"))
        packet = await worker.send(passed_on.form(f"/packets/{offer}"))
        assert f"Number : {offer[:8]}" in packet.text or f"Number: {offer[:8]}" in packet.text
        await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")

        async def asked() -> Any:
            return (await house.partner.get("/referral/copies"))["copies"]

        await eventually(asked)
        for service, table, column in (("referral", "held_copy", "answer_by"), ("intake", "packet", "erasure_by")):
            async with world.made.services[service].db.transaction("test.late") as tx:
                await tx.conn.execute(
                    f"update {table} set {column} = now() - interval '26 hours' where offer = $1", UUID(offer)
                )
        inbox = await worker.get("/referral/pages/inbox")
        assert "No request waits for your answer" in inbox.text
        assert offer[:8] in inbox.text
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as worker:
        assert "Nothing needs a person now" not in (await worker.get("/referral/pages/escalations")).text
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        own = await worker.get(f"/intake/pages/handoffs/{handoff}")
        assert "1 copy is not answered for yet" in own.text
        assert "The time to answer is over" in own.text
