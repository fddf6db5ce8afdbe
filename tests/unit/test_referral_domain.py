"""The two state machines and every decision about them, without a database."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import events as e
from schemas.vocabulary import EscalationReason, ReasonFamily, ServiceGroup, Urgency, WaitsFor
from services.referral.referrals import decisions as d
from services.referral.referrals.decisions import Decision
from services.referral.referrals.domain import (
    FINAL,
    OFFER,
    OPEN,
    REFERRAL,
    Action,
    IllegalTransition,
    Offer,
    OfferAction,
    OfferState,
    Referral,
    State,
    Windows,
    may_be_answered,
)

NOW = datetime(2026, 3, 1, 2, 10, tzinfo=UTC)
S, A = State, Action
URGENCIES = [Urgency.IMMEDIATE, Urgency.EMERGENCY, Urgency.URGENT, Urgency.NORMAL]
WITH_OFFER = {S.OFFERED, S.ACCEPTED, S.READY, S.MISSING, S.IN_PROGRESS, S.COMPLETED}
WITH_STEP = {S.REQUESTED, S.OFFERED, S.READY}

seconds = st.integers(1, 400_000)
windows = st.builds(
    Windows,
    answer_s=st.fixed_dictionaries(dict.fromkeys(URGENCIES, seconds)),
    service_s=st.fixed_dictionaries(dict.fromkeys(URGENCIES, seconds)),
    ready_s=seconds, arrive_s=seconds, verify_s=seconds, outcome_s=seconds, remind_s=seconds, taken_s=seconds,
)  # fmt: skip
moments = st.integers(-1_000_000, 1_000_000).map(lambda s: NOW + timedelta(seconds=s))


@st.composite
def referrals(draw: st.DrawFn, state: State | None = None) -> Referral:
    """Any referral as the tables and CHECKs let it be."""
    state = state or draw(st.sampled_from(State))
    offer = uuid4() if state in WITH_OFFER or (state is S.ON_HOLD and draw(st.booleans())) else None
    final = state in FINAL
    escalated = None if final else draw(st.none() | st.sampled_from([r for r in EscalationReason if r != "unknown"]))
    if state in {S.UNROUTABLE, S.MISSING} and escalated is None:
        escalated = EscalationReason.NO_CANDIDATE
    step = state in WITH_STEP or (state in {S.ACCEPTED, S.IN_PROGRESS} and draw(st.booleans()))
    if state in {S.ACCEPTED, S.IN_PROGRESS} and not step:
        escalated = escalated or EscalationReason.NOT_READY
    reminded_at = draw(moments) if escalated or state is S.ON_HOLD else None
    arrived = state is S.IN_PROGRESS
    return Referral(
        id=uuid4(), network=uuid4(), holder="main", sender=uuid4(), coordinator=uuid4(),
        service_group=ServiceGroup.SHELTER, urgency=draw(st.sampled_from(URGENCIES)), area="KH-1", places=draw(st.integers(1, 9)),
        need_by=draw(st.none() | moments), requested_at=draw(moments), deadline=draw(moments), windows=draw(windows),
        state=state, step_at=draw(moments) if step else None, asked_from=draw(moments), stopped=draw(st.booleans()),
        offer=offer, escalated=escalated, taken_by="somebody" if escalated and draw(st.booleans()) else None,
        remind_at=reminded_at, reminded=draw(st.integers(0, 40)) if reminded_at else 0,
        arrived_at=NOW if arrived else None, arrival_verified=draw(st.booleans()) if arrived else None, ended_at=NOW if final else None,
    )  # fmt: skip


def offer_of(state: OfferState, answer_by: datetime = NOW) -> Offer:
    over = state not in OPEN
    reason = ReasonFamily.FULL if over and state is not OfferState.ACCEPTED else None
    return Offer(uuid4(), uuid4(), uuid4(), uuid4(), uuid4(), state, reason, NOW, answer_by, NOW if over else None, 1)


OFFER_ID, HOUSE = uuid4(), uuid4()

# Every decision that moves a referral: by which action of the table, and what it says of it.
DECIDES: dict[str, tuple[Action, Callable[[Referral, datetime], Decision], tuple[type[e.EventData], ...]]] = {
    "offered": (A.OFFER, lambda r, now: d.offered(r, OFFER_ID, HOUSE, now), (e.OfferSentV1,)),
    "passed_on": (
        A.TRY_NEXT,
        lambda r, now: d.passed_on(r, e.OfferExpiredV1(offer=OFFER_ID), now),
        (e.OfferExpiredV1,),
    ),
    "accepted": (A.ACCEPT, lambda r, now: d.accepted(r, offer_of(OfferState.SENT), now), (e.OfferAcceptedV1,)),
    "released": (A.RELEASE, lambda r, now: d.released(r, OFFER_ID, now), (e.ReferralReadyV1,)),
    "departed": (A.DEPART, lambda r, now: d.departed(r, OFFER_ID, now), (e.ReferralDepartedV1,)),
    "arrived": (A.ARRIVE, lambda r, now: d.arrived(r, OFFER_ID, now, verified=True), (e.ReferralArrivedV1,)),
    "verified": (
        A.VERIFY,
        lambda r, now: d.verified(replace(r, arrival_verified=False), OFFER_ID, now, by=None),
        (e.ReferralVerifiedV1,),
    ),
    "missed": (A.MISS, lambda r, now: d.missed(r, OFFER_ID, now), (e.ReferralMissingV1, e.ReferralEscalatedV1)),
    "completed": (A.COMPLETE, lambda r, now: d.completed(r, OFFER_ID, now), (e.ReferralCompletedV1,)),
    "closed": (
        A.COMPLETE,
        lambda r, now: d.closed(replace(r, escalated=EscalationReason.NO_OUTCOME), OFFER_ID, "person:1", now),
        (e.ReferralCompletedV1,),
    ),
    "cancelled": (A.CANCEL, lambda r, now: d.cancelled(r, ReasonFamily.OTHER, now), (e.ReferralCancelledV1,)),
    "reopened": (A.REOPEN, lambda r, now: d.reopened(r, now, anew=True), (e.ReferralReopenedV1,)),
    "paused": (A.PAUSE, lambda r, now: d.paused(r, ReasonFamily.STOPPED, now), (e.ReferralHeldV2,)),
    "exhausted": (
        A.EXHAUST,
        lambda r, now: d.exhausted(replace(r, stopped=False), now, refused=True),
        (e.ReferralUnroutableV1, e.ReferralEscalatedV1),
    ),
}
# Those that move nothing by themselves.
OTHERS = {"received", "moved", "answered", "answer_by", "stopped", "stopped_wholly", "escalated", "overdue_step", "reminded", "taken",
          "may_close", "handed_back", "receiver_suspended", "left_open", "reassigned", "replace"}  # fmt: skip


def test_every_decision_and_every_action_is_named_here() -> None:
    public = {name for name, one in inspect.getmembers(d, inspect.isfunction) if not name.startswith("_")}
    assert public - {"dataclass"} == set(DECIDES) | OTHERS
    assert {action for action, _, _ in DECIDES.values()} == set(Action)


@given(state=st.sampled_from(State), name=st.sampled_from(sorted(DECIDES)), data=st.data())
def test_every_pair_is_in_the_table_or_refused(state: State, name: str, data: st.DataObject) -> None:
    action, decide, says = DECIDES[name]
    referral = data.draw(referrals(state))
    if (state, action) not in REFERRAL:
        with pytest.raises(IllegalTransition):
            decide(referral, NOW)
        return
    decision = decide(referral, NOW)
    assert decision.referral.state is REFERRAL[state, action]
    assert tuple(type(event) for event in decision.events) == says
    _is_whole(decision.referral)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("action", Action)
def test_the_table_decides_alone(state: State, action: Action) -> None:
    """The same for all 120 pairs without chance."""
    whole = Referral(
        id=uuid4(), network=uuid4(), holder="main", sender=uuid4(), coordinator=uuid4(),
        service_group=ServiceGroup.SHELTER, urgency=Urgency.URGENT, area="KH-1", places=1, need_by=None,
        requested_at=NOW, deadline=NOW, windows=Windows(), state=state, step_at=NOW, asked_from=NOW,
    )  # fmt: skip
    if (state, action) in REFERRAL:
        assert d.moved(whole, action, NOW).state is REFERRAL[state, action]
    else:
        with pytest.raises(IllegalTransition):
            d.moved(whole, action, NOW)


@pytest.mark.parametrize("state", OfferState)
@pytest.mark.parametrize("action", OfferAction)
def test_the_offers_table_decides_alone(state: OfferState, action: OfferAction) -> None:
    before = offer_of(state)
    if (state, action) not in OFFER:
        with pytest.raises(IllegalTransition):
            d.answered(before, action, NOW)
        return
    after = d.answered(before, action, NOW, None)
    assert after.state is OFFER[state, action]
    assert (after.answered_at is None) == (after.state in OPEN)


def _is_whole(referral: Referral) -> None:
    """What must hold of every referral, whatever was decided: nothing waits unseen, nothing final wakes anybody."""
    if referral.state in FINAL:
        assert (referral.wake_at, referral.escalated, referral.taken_by, referral.remind_at) == (None, None, None, None)
        assert referral.ended_at is not None
        return
    assert referral.wake_at is not None
    assert referral.ended_at is None
    assert (referral.step_at is not None) or referral.remind_at is not None
    assert referral.state not in WITH_STEP or referral.step_at is not None
    assert referral.state not in {S.UNROUTABLE, S.ON_HOLD, S.MISSING} or referral.step_at is None
    assert referral.escalated is None or referral.remind_at is not None
    assert referral.taken_by is None or referral.escalated is not None
    assert (referral.offer is not None) == (referral.state in WITH_OFFER) or referral.state is S.ON_HOLD
    assert (referral.arrived_at is not None) == (referral.state is S.IN_PROGRESS)


@given(referral=referrals(), reason=st.sampled_from([r for r in EscalationReason if r != "unknown"]))
def test_whoever_is_told_is_told_again_and_the_next_step_stays(referral: Referral, reason: EscalationReason) -> None:
    if referral.state in FINAL:
        return
    told = d.escalated(referral, reason, NOW)
    assert told.referral.step_at == referral.step_at, "a step that is due is not put off by an escalation"
    assert told.referral.remind_at == NOW + timedelta(seconds=referral.windows.remind_s)
    assert told.referral.taken_by is None
    assert told.events == (e.ReferralEscalatedV1(coordinator=referral.coordinator, reason=reason),)
    _is_whole(told.referral)


@given(referral=referrals(S.UNROUTABLE))
def test_reminders_come_ever_more_rarely_and_never_end(referral: Referral) -> None:
    told, now, waits = d.escalated(referral, EscalationReason.NO_CANDIDATE, NOW).referral, NOW, []
    for _ in range(40):
        assert told.remind_at is not None
        waits.append((told.remind_at - now).total_seconds())
        now = told.remind_at
        decision = d.reminded(told, now)
        assert len(decision.events) == 1
        told = decision.referral
    assert waits == sorted(waits)
    assert waits[0] == referral.windows.remind_s
    assert waits[-1] <= max(d.REMIND_MOST_S, referral.windows.remind_s)
    assert waits[1] == min(2 * waits[0], max(d.REMIND_MOST_S, waits[0]))
    taken = d.taken(told, "somebody", now)
    assert taken.remind_at == now + timedelta(seconds=referral.windows.taken_s)
    assert (d.reminded(taken, now).referral.taken_by, taken.reminded) == (None, 0)


@given(state=st.sampled_from([S.REQUESTED, S.OFFERED, S.ACCEPTED, S.READY, S.UNROUTABLE, S.MISSING]), data=st.data())
def test_what_is_past_its_deadline_stays_the_coordinators_until_somebody_arrives(
    state: State, data: st.DataObject
) -> None:
    referral = data.draw(referrals(state))
    for name in ("accepted", "released", "reopened", "paused"):
        action, decide, _ = DECIDES[name]
        if (state, action) not in REFERRAL:
            continue
        after = decide(referral, NOW).referral
        shut_out = referral.escalated is EscalationReason.ORGANISATION_SUSPENDED
        overdue = referral.escalated is not None and referral.deadline <= NOW
        kept = EscalationReason.ORGANISATION_SUSPENDED if shut_out else EscalationReason.DEADLINE_PASSED
        assert after.escalated == (kept if shut_out or overdue else None)
        assert after.taken_by == (referral.taken_by if shut_out or overdue else None)
    if (state, A.ARRIVE) in REFERRAL:
        assert d.arrived(referral, OFFER_ID, NOW, verified=False).referral.escalated is None


@given(referral=referrals(S.ON_HOLD))
def test_what_waits_because_of_a_house_that_is_shut_out_is_asked_anew_without_it(referral: Referral) -> None:
    shut_out = replace(referral, escalated=EscalationReason.ORGANISATION_SUSPENDED, remind_at=NOW)
    after = d.reopened(shut_out, NOW, anew=True).referral
    overdue = EscalationReason.DEADLINE_PASSED if referral.deadline <= NOW else None
    still = EscalationReason.ORGANISATION_SUSPENDED if referral.offer is None else overdue
    assert after.escalated is still, "of a sender who is shut out it stays the coordinator's"
    _is_whole(after)


@given(state=st.sampled_from([S.REQUESTED, S.UNROUTABLE, S.ON_HOLD]), data=st.data())
def test_what_nobody_may_be_asked_for_any_more_is_the_senders(state: State, data: st.DataObject) -> None:
    after = d.stopped_wholly(data.draw(referrals(state)), NOW)
    assert after.referral.stopped
    assert after.referral.state is (S.ON_HOLD if state is S.UNROUTABLE else state)
    held = (e.ReferralHeldV2(reason=ReasonFamily.STOPPED, waits_for=WaitsFor.SENDER),)
    assert after.events == (held if state is S.UNROUTABLE else ())
    _is_whole(after.referral)


@given(referral=referrals(S.REQUESTED), refused=st.booleans(), stopped=st.booleans())
def test_nobody_left_is_the_senders_only_where_the_gate_has_changed(
    *, referral: Referral, refused: bool, stopped: bool
) -> None:
    after = d.exhausted(replace(referral, stopped=stopped), NOW, refused=refused)
    assert after.referral.state is (S.ON_HOLD if refused and stopped else S.UNROUTABLE)
    held = e.ReferralHeldV2(reason=ReasonFamily.STOPPED, waits_for=WaitsFor.SENDER)
    assert (held in after.events) == (refused and stopped)
    _is_whole(after.referral)
    assert after.referral.remind_at is not None, "if the sender does nothing, a coordinator hears of it"
    if refused and stopped and referral.escalated is None:
        later = d.reminded(after.referral, NOW)
        assert later.referral.escalated is EscalationReason.SHARING_STOPPED


@given(referral=referrals())
def test_handing_back_needs_a_free_referral_and_a_sender_who_may_act(referral: Referral) -> None:
    blocked = (
        (referral.state, A.PAUSE) not in REFERRAL
        or referral.offer is not None
        or referral.escalated is EscalationReason.ORGANISATION_SUSPENDED
    )
    if blocked:
        with pytest.raises(IllegalTransition):
            d.handed_back(referral, NOW)
    else:
        after = d.handed_back(referral, NOW).referral
        assert after.state is S.ON_HOLD
        _is_whole(after)


@given(state=st.sampled_from([S.ACCEPTED, S.READY, S.MISSING, S.IN_PROGRESS, S.ON_HOLD]), data=st.data())
def test_a_suspended_house_moves_nobody(state: State, data: st.DataObject) -> None:
    referral = data.draw(referrals(state))
    after = d.receiver_suspended(referral, NOW)
    assert after.referral.offer == referral.offer, "the place stays held until a person decides"
    assert after.referral.escalated is EscalationReason.ORGANISATION_SUSPENDED
    assert after.referral.state is (S.IN_PROGRESS if state is S.IN_PROGRESS else S.ON_HOLD)
    if (state, A.PAUSE) in REFERRAL:
        assert after.events[0] == e.ReferralHeldV2(reason=ReasonFamily.CLOSED, waits_for=WaitsFor.COORDINATOR)
    _is_whole(after.referral)


@given(referral=referrals(S.READY), late_s=st.integers(0, 400_000))
def test_an_unverified_arrival_is_told_in_its_time_and_the_outcome_is_awaited_all_the_same(
    referral: Referral, late_s: int
) -> None:
    there = d.arrived(referral, OFFER_ID, NOW, verified=False).referral
    outcome_at = NOW + timedelta(seconds=referral.windows.outcome_s)
    assert there.step_at == min(NOW + timedelta(seconds=referral.windows.verify_s), outcome_at)
    now = there.step_at + timedelta(seconds=late_s)
    left = d.left_open(there, now)
    _is_whole(left.referral)
    assert len(left.events) == 1
    if now < outcome_at:
        assert (left.referral.escalated, left.referral.step_at) == (EscalationReason.ARRIVAL_UNVERIFIED, outcome_at)
        left = d.left_open(left.referral, outcome_at)
    assert (left.referral.escalated, left.referral.step_at) == (EscalationReason.NO_OUTCOME, None)
    for before, still in ((there, None), (left.referral, EscalationReason.NO_OUTCOME)):
        after = d.verified(before, OFFER_ID, now, by="somebody").referral
        assert (after.arrival_verified, after.arrival_checked_by, after.escalated) == (True, "somebody", still)
        assert after.step_at == (None if still else outcome_at)
        with pytest.raises(IllegalTransition):
            d.verified(after, OFFER_ID, now, by=None)


@given(referral=referrals(S.IN_PROGRESS))
def test_whoever_has_it_for_another_reason_is_not_told_that_it_is_unverified_instead(referral: Referral) -> None:
    left = d.left_open(replace(referral, arrival_verified=False), NOW - timedelta(seconds=1))
    assert left.referral.escalated is (referral.escalated or EscalationReason.ARRIVAL_UNVERIFIED)
    after = d.verified(left.referral, OFFER_ID, NOW, by=None).referral
    reasons = {None, EscalationReason.ARRIVAL_UNVERIFIED}
    assert after.escalated is (None if referral.escalated in reasons else referral.escalated)
    _is_whole(after)


@given(referral=referrals())
def test_another_coordinator_is_told_of_what_needs_a_person_and_nothing_else_moves(referral: Referral) -> None:
    if referral.state in FINAL:
        return
    other = uuid4()
    after = d.reassigned(referral, other, NOW)
    assert (after.referral.coordinator, after.referral.step_at) == (other, referral.step_at)
    assert (after.referral.state, after.referral.escalated) == (referral.state, referral.escalated)
    assert after.events[0] == e.ReferralReassignedV1(coordinator=other)
    told = tuple(e.ReferralEscalatedV1(coordinator=other, reason=one) for one in (referral.escalated,) if one)
    assert after.events[1:] == told
    assert not told or after.referral.taken_by is None, "whoever had taken it was of the other coordinator"
    _is_whole(after.referral)


@given(referral=referrals(S.UNROUTABLE), anew=st.booleans())
def test_asking_anew_forgets_who_was_asked(*, referral: Referral, anew: bool) -> None:
    after = d.reopened(referral, NOW, anew=anew).referral
    assert after.asked_from == (NOW if anew else referral.asked_from)
    assert (after.step_at, after.offer, after.stopped) == (NOW, None, False)


requests = st.builds(
    e.HandoffRequestedV1,
    network=st.uuids(), sender=st.uuids(), group=st.just(ServiceGroup.SHELTER), urgency=st.sampled_from(URGENCIES),
    area=st.just("KH-1"), places=st.integers(1, 9), requested_at=moments, need_by=st.none() | moments,
)  # fmt: skip


@given(asked=requests, given_windows=windows)
def test_the_clock_counts_from_the_senders_moment_and_need_by_beats_urgency(
    asked: e.HandoffRequestedV1, given_windows: Windows
) -> None:
    decision = d.received(uuid4(), "main", asked, uuid4(), given_windows, NOW)
    by_urgency = asked.requested_at + timedelta(seconds=given_windows.service_s[asked.urgency])
    assert decision.referral.deadline == min(by_urgency, asked.need_by or by_urgency)
    assert decision.referral.step_at == NOW, "asked at once, however late it is already"
    assert decision.referral.windows == given_windows, "frozen"
    _is_whole(decision.referral)
    (said,) = decision.events
    assert isinstance(said, e.ReferralReceivedV1)
    assert (said.deadline, said.requested_at) == (decision.referral.deadline, asked.requested_at)


@given(referral=referrals(S.REQUESTED))
def test_an_organisation_answers_before_need_by_while_that_lies_ahead(referral: Referral) -> None:
    until = d.answer_by(referral, NOW)
    window = NOW + timedelta(seconds=referral.windows.answer_s[referral.urgency])
    assert NOW < until <= window
    ahead = referral.need_by is not None and referral.need_by > NOW
    assert until == (min(window, referral.need_by) if ahead and referral.need_by else window)
    decision = d.offered(referral, OFFER_ID, HOUSE, NOW)
    assert decision.referral.step_at == until
    assert decision.events == (e.OfferSentV1(offer=OFFER_ID, organisation=HOUSE, answer_by=until),)


@pytest.mark.parametrize("state", OfferState)
@pytest.mark.parametrize(("late_s", "in_time"), [(-1, True), (0, True), (1, False)])
def test_an_answer_is_late_whether_or_not_the_clock_was_here(state: OfferState, late_s: int, *, in_time: bool) -> None:
    offer = offer_of(state, answer_by=NOW)
    assert may_be_answered(offer, NOW + timedelta(seconds=late_s)) == (in_time and state in OPEN)


WRONG_WINDOWS: list[dict[str, Any]] = [
    {"answer_s": {"immediate": 60}},
    {"service_s": {**dict.fromkeys(URGENCIES, 60), "whenever": 60}},
    {"ready_s": 0},
    {"outcome_s": 10**12},
    {"answer_s": dict.fromkeys(URGENCIES, -1)},
    {"nap_s": 60},
]


@pytest.mark.parametrize("wrong", WRONG_WINDOWS)
def test_windows_that_would_strand_a_referral_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Windows.model_validate(wrong)


def test_windows_survive_the_database() -> None:
    assert Windows.model_validate_json(Windows().model_dump_json()) == Windows()
