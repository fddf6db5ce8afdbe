"""The checker itself: each of its invariants is broken by hand, in the databases or on the log, and it must say so.

Every break is made in open transactions, judged through them, and rolled back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from copy import deepcopy
from typing import Any

import pytest

from tests.faults import snapshot
from tests.faults.checker import judge
from tests.faults.load import Journal
from tests.faults.rules_log import LOG_RULES
from tests.faults.rules_truth import TRUTH_RULES
from tests.faults.schedule import Ground, Report

Conns = Mapping[str, Any]
Break = Callable[[Conns, Journal], Awaitable[object]]
BREAKS: list[tuple[str, Break]] = []
# A hand-off that is through; one whose person is there; the place of a promise that stands; an offer that ended without one; somebody who withdrew.
THROUGH = "select id from referral where state = 'completed' order by id limit 1"
THERE = "select id from referral where state = 'in-progress' order by id limit 1"
HELD = "select place from hold where state = 'held' order by offer limit 1"
REFUSED = "select id from offer where state = 'rejected' order by id limit 1"
STOPPED = "select entry from fence where sharing_shut order by entry limit 1"


def breaks(rule: str) -> Callable[[Break], Break]:
    """This invariant is broken by the function below."""

    def keep(done: Break) -> Break:
        BREAKS.append((rule, done))
        return done

    return keep


async def on_log(conns: Conns, number: int) -> Any:
    """Where an event of a referral that went through stands: its row of `said`."""
    through = await conns["referral"].fetchval(THROUGH)
    return await conns["referral"].fetchrow(
        "select * from said where aggregateid = $1 and sequence = $2", through, number
    )


_HERE = 'where topic = $1 and partition = $2 and "offset" = $3'


def place(said: Any) -> tuple[str, int, int]:
    return said["aggregatetype"], said["partition"], said["offset"]


# --- between the outbox and the readers ---------------------------------------------------------------------------


@breaks("all_sent")
async def an_event_was_never_sent(conns: Conns, _: Journal) -> None:
    names = "id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid"
    await conns["intake"].execute(f"insert into outbox ({names}) select {names} from said order by number desc limit 1")


@breaks("numbers_without_gaps")
async def an_event_was_dropped_before_it_was_sent(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute("update aggregate set sequence = sequence + 1 where id = $1",
                                    await conns["referral"].fetchval(THROUGH))  # fmt: skip


@breaks("numbers_without_gaps")
async def a_writer_forgot_what_it_said(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute("delete from said where id = $1", (await on_log(conns, 2))["id"])


@breaks("log_was_said")
async def the_log_has_what_nobody_said(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute("delete from said where id = $1", (await on_log(conns, 2))["id"])


@breaks("said_is_on_log")
async def an_event_is_gone_from_the_log(conns: Conns, _: Journal) -> None:
    await conns["bus"].execute(f"delete from log {_HERE}", *place(await on_log(conns, 2)))


@breaks("said_is_on_log")
async def an_event_says_something_else(conns: Conns, _: Journal) -> None:
    await conns["bus"].execute(
        f"""update log set value = '{{"more":0,'::bytea || substring(value from 2) {_HERE}""",
        *place(await on_log(conns, 2)),
    )


@breaks("log_has_no_holes")
async def the_log_has_a_hole(conns: Conns, _: Journal) -> None:
    await conns["bus"].execute(f"delete from log {_HERE}", *place(await on_log(conns, 2)))


@breaks("log_is_in_order")
async def two_events_changed_places(conns: Conns, _: Journal) -> None:
    here, there = place(await on_log(conns, 2)), place(await on_log(conns, 3))
    first = await conns["bus"].fetchrow(f"select headers, value from log {_HERE}", *here)
    second = await conns["bus"].fetchrow(f"select headers, value from log {_HERE}", *there)
    await conns["bus"].execute(f"update log set headers = $4, value = $5 {_HERE}", *here, *second)
    await conns["bus"].execute(f"update log set headers = $4, value = $5 {_HERE}", *there, *first)


@breaks("log_is_in_order")
async def a_number_was_used_twice(conns: Conns, _: Journal) -> None:
    first = await conns["bus"].fetchrow(f"select * from log {_HERE}", *place(await on_log(conns, 2)))
    await conns["bus"].execute(
        """
        with moved as (update head set next = next + 1 where topic = $1 and partition = $2 returning next - 1 as free)
        insert into log select $1, $2, free, $3, $4::jsonb || '{"ce_id": "0190a000-0000-7000-8000-000000000000"}', $5, now()
        from moved
        """,
        first["topic"], first["partition"], first["key"], first["headers"], first["value"],
    )  # fmt: skip


@breaks("all_taken_in")
async def a_reader_lost_the_last_event(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute("update last set sequence = sequence - 1 where aggregate = $1",
                                  await conns["referral"].fetchval(THROUGH))  # fmt: skip


@breaks("at_the_end")
async def a_reader_stands_before_the_end(conns: Conns, _: Journal) -> None:
    await conns["intake"].execute("update position set next = next - 1 where next > 0")


@breaks("nothing_parked")
async def an_event_is_parked(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute(
        """
        insert into parked (topic, partition, "offset", source, aggregate, epoch, sequence, type, headers, value, reason)
        values ('spean.referral', 0, 0, 'spean/referral', gen_random_uuid(), 1, 1, 'a.b', '{}', '', 'gap')
        """
    )


# --- what it is about ---------------------------------------------------------------------------------------------


@breaks("handoffs_once")
async def a_handoff_was_made_twice(conns: Conns, _: Journal) -> None:
    names = "org, network, service_type, urgency, area, places, requested_at, state, changed_at"
    await conns["intake"].execute(
        f"insert into handoff (id, {names}) select gen_random_uuid(), {names} from handoff order by id limit 1"
    )


@breaks("handoffs_once")
async def a_handoff_is_lost_on_the_way(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute("delete from referral_view where id = $1", await conns["referral"].fetchval(THROUGH))


@breaks("states_agree")
async def an_event_had_no_effect(conns: Conns, _: Journal) -> None:
    await conns["intake"].execute("update handoff set state = 'ready' where id = $1",
                                  await conns["referral"].fetchval(THROUGH))  # fmt: skip


@breaks("states_agree")
async def a_cancel_that_crossed_an_arrival_stays_cancelled(conns: Conns, _: Journal) -> None:
    """The house has the person, and the holder never heard of it."""
    there = await conns["referral"].fetchval(THERE)
    await conns["referral"].execute("update referral set ending = true where id = $1", there)
    await conns["intake"].execute("update handoff set state = 'cancelled', ending = false where id = $1", there)
    await conns["intake"].execute("update packet set ended_at = now() where handoff = $1", there)


@breaks("states_agree")
async def a_packet_stayed_shut_after_a_cancel_that_crossed_an_arrival(conns: Conns, _: Journal) -> None:
    there = await conns["referral"].fetchval(THERE)
    await conns["referral"].execute("update referral set ending = true where id = $1", there)
    await conns["intake"].execute("update handoff set ending = true where id = $1", there)
    await conns["intake"].execute("update packet set ended_at = now() where handoff = $1", there)


@breaks("states_agree")
async def only_one_side_knows_that_it_is_ending(conns: Conns, _: Journal) -> None:
    await conns["intake"].execute("update handoff set ending = not ending where id = $1",
                                  await conns["referral"].fetchval(THERE))  # fmt: skip


@breaks("states_agree")
async def an_arrival_is_certain_at_one_side_only(conns: Conns, _: Journal) -> None:
    await conns["intake"].execute("update handoff set arrival_verified = not arrival_verified where id = $1",
                                  await conns["referral"].fetchval(THERE))  # fmt: skip


@breaks("views_are_true")
async def a_view_counts_an_event_twice(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute("update referral_view set asked = asked + 1 where id = $1",
                                  await conns["referral"].fetchval(THROUGH))  # fmt: skip


@breaks("views_are_true")
async def a_view_shows_a_bed_too_many(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute("update capacity_view set free = free + 1 where place = $1",
                                  await conns["referral"].fetchval(HELD))  # fmt: skip


@breaks("told_once")
async def an_organisation_was_never_told(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute("delete from delivery where id = (select id from delivery order by id limit 1)")


@breaks("told_once")
async def the_tail_has_an_event_twice(conns: Conns, _: Journal) -> None:
    await conns["notify"].execute(
        "insert into tail (number, event, type, at) select max(number) + 1, gen_random_uuid(), 'offer.sent.v1', now() from tail"
    )


@breaks("places_are_counted")
async def a_bed_was_promised_without_a_hold(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute("update place set held = held + 1, usable = usable + 1 where id = $1",
                                    await conns["referral"].fetchval(HELD))  # fmt: skip


@breaks("places_are_counted")
async def a_bed_was_promised_twice(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute("alter table place drop constraint never_more_than_there_are")
    await conns["referral"].execute("update place set usable = outside + held + staying - 1 where id = $1",
                                    await conns["referral"].fetchval(HELD))  # fmt: skip


@breaks("one_offer")
async def a_referral_keeps_two_beds(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute(
        "insert into hold (offer, place, places, state, since) select id, place, 1, 'held', now() from offer where id = $1",
        await conns["referral"].fetchval(REFUSED),
    )


@breaks("nothing_waits_unseen")
async def a_referral_waits_without_a_due_row(conns: Conns, _: Journal) -> None:
    await conns["referral"].execute(
        "delete from due where kind = 'referral' and subject = (select subject from due where kind = 'referral' limit 1)"
    )


@breaks("nothing_waits_unseen")
async def an_unverified_arrival_is_looked_at_by_nobody(conns: Conns, _: Journal) -> None:
    """Due when its outcome is, and not before."""
    await conns["referral"].execute(
        """
        update referral set arrival_verified = false, escalated = null, remind_at = null,
            step_at = arrived_at + interval '30 days' where id = $1
        """,
        await conns["referral"].fetchval(THERE),
    )
    await conns["referral"].execute(
        "update due set at = (select wake_at from referral where id = subject) where kind = 'referral' and subject = $1",
        await conns["referral"].fetchval(THERE),
    )


@breaks("nothing_waits_unseen")
async def a_due_row_was_forgotten(conns: Conns, _: Journal) -> None:
    await conns["intake"].execute(
        "insert into due (kind, subject, at) values ('erasure', gen_random_uuid(), now() - interval '1 hour')"
    )


@breaks("commands_once")
async def a_refused_command_took_effect(_: Conns, journal: Journal) -> None:
    done = next(key for key, answer in journal.commands.items() if key[0] == "accept" and answer == "done")
    journal.commands[done] = "no-longer-available"


@breaks("commands_once")
async def an_answered_command_had_no_effect(_: Conns, journal: Journal) -> None:
    done = next(key for key, answer in journal.commands.items() if key[0] == "decline" and answer == "done")
    journal.commands["arrive", done[1]] = "done"


@breaks("records_once")
async def a_consent_was_written_down_twice(conns: Conns, _: Journal) -> None:
    names = ("entry, org, decision, state, categories, purposes, recipients, valid_from, expressed, language, notice, "
             "interpreter, recorded_by, recorded_at")  # fmt: skip
    await conns["intake"].execute(
        f"insert into consent (id, version, {names}) select gen_random_uuid(), 9, {names} from consent order by id limit 1"
    )


@breaks("records_once")
async def an_acknowledged_entry_is_missing(_: Conns, journal: Journal) -> None:
    journal.entries.add("5f0e5a0e-0000-4000-8000-000000000000")


@breaks("shut_stays_shut")
async def a_field_went_out_after_a_withdrawal(conns: Conns, _: Journal) -> None:
    stopped = await conns["intake"].fetchval(STOPPED)
    await conns["intake"].execute(
        """
        insert into disclosure (entry, handoff, org, recipient, stage, purpose, allowed, refused, at, last_at)
        select $1, h.id, h.org, gen_random_uuid(), 'packet', 'service_provision', '{name}', '{}', now(), now()
        from handoff h limit 1
        """,
        stopped,
    )


@breaks("shut_stays_shut")
async def a_fence_is_open_again(conns: Conns, _: Journal) -> None:
    await conns["intake"].execute("update fence set sharing_shut = false, service_shut = false where entry = $1",
                                  await conns["intake"].fetchval(STOPPED))  # fmt: skip


@pytest.mark.parametrize(("rule", "made"), BREAKS, ids=[made.__name__ for _, made in BREAKS])
async def test_the_checker_finds_a_break(ground: Ground, short_run: Report, rule: str, made: Break) -> None:
    assert short_run.findings == [], "what is broken before proves nothing"
    journal = deepcopy(ground.journal)
    async with snapshot.opened(ground.made.cluster) as sources, AsyncExitStack() as undone:
        for conn in sources.conns.values():
            transaction = conn.transaction()
            await transaction.start()
            undone.push_async_callback(transaction.rollback)
            # No triggers and no foreign keys: the break is made whatever the schema forbids.
            await conn.execute("set local session_replication_role = replica")
        await made(sources.conns, journal)
        findings = judge(await snapshot.read(sources), journal, ground.made.services)
    assert rule in {finding.rule for finding in findings}


async def test_undone_breaks_leave_nothing_and_every_invariant_was_broken(ground: Ground, short_run: Report) -> None:
    assert {rule for rule, _ in BREAKS} == {rule.__name__ for rule in (*LOG_RULES, *TRUTH_RULES)}
    async with snapshot.opened(ground.made.cluster) as sources:
        assert judge(await snapshot.read(sources), ground.journal, ground.made.services) == short_run.findings
