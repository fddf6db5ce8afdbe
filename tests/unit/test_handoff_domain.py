"""How the network's words reach the sender, and for whom a hand-off may be asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from schemas.registry import REFERRALS, TOPIC_OF, TYPES
from schemas.versions import NEWER, newest
from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, OrganisationType, Purpose, ServiceType
from services.intake.disclosure.domain import ERASED, Consent, Exclusion, Person, Rule
from services.intake.disclosure.recipients import RecipientClass
from services.intake.handoffs import domain
from services.intake.handoffs.store import ENDED
from spean.problem import Refusal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE, TWO = UUID(int=1), UUID(int=2)
# Said of the work beside the sender's hand-off: who looked, who was told, that somebody set out.
_WITHOUT_STATE = {"offer.seen", "referral.escalated", "referral.departed", "referral.reassigned"}


def _consent(decision: ConsentDecision, **more: object) -> Consent:
    made = Consent(
        decision=decision, state=ConsentState.GIVEN, version=1, categories=frozenset(), purposes=frozenset(),
        organisations=frozenset(), classes=(), valid_from=NOW - HOUR, valid_until=NOW + HOUR, guardian=False,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


SERVICE, SHARING = _consent(ConsentDecision.SERVICE), _consent(ConsentDecision.SHARE_REFERRAL)
PERSON = Person(minor=False, service=SERVICE, sharing=SHARING, exclusions=(), sharing_shut=False, service_shut=False)


def test_every_word_of_the_network_about_a_referral_is_followed_or_known_to_have_no_state() -> None:
    said = {name for name, topic in TOPIC_OF.items() if topic is REFERRALS} - NEWER.keys()
    without = {f"org.spean.{name}.v1" for name in _WITHOUT_STATE}
    assert without | set(domain.STATE_AFTER) == said <= set(TYPES)
    assert not without & set(domain.STATE_AFTER)


def test_without_placement_every_state_behind_an_acceptance_is_one_of_two_words() -> None:
    shown = {state: domain.shown_state(state, placement=False) for state in set(domain.STATE_AFTER.values())}
    assert {state for state, word in shown.items() if word == "answered"} == {
        "accepted",
        "ready",
        "in-progress",
        "missing",
    }
    assert {state for state, word in shown.items() if word == "closed"} == set(ENDED)
    assert all(shown[state] == state for state in ("received", "offered", "unroutable", "on-hold"))


@pytest.mark.parametrize("ending", [False, True])
def test_with_placement_every_state_is_shown(*, ending: bool) -> None:
    for state in domain.STATE_AFTER.values():
        assert domain.shown_state(state, placement=True, ending=ending) == state


def test_without_placement_what_the_sender_has_ended_is_closed_whether_or_not_somebody_had_arrived() -> None:
    for state in ("in-progress", "completed", "cancelled"):
        assert domain.shown_state(state, placement=False, ending=True) == "closed"


def test_only_what_a_house_did_overtakes_what_the_sender_did() -> None:
    assert {domain.STATE_AFTER[type_] for type_ in domain.FACTS} == {"in-progress", "completed"}


@pytest.mark.parametrize(
    ("type_", "said", "after"),
    [
        ("offer.sent", TWO, TWO), ("offer.accepted", TWO, TWO), ("referral.ready", ONE, ONE), ("referral.held", None, ONE),
        ("offer.declined", ONE, None), ("offer.expired", ONE, None), ("offer.withdrawn", ONE, None),
        ("referral.reopened", None, None), ("referral.completed", ONE, ONE),
    ],
)  # fmt: skip
def test_a_hand_off_stands_at_the_offer_that_is_not_over(type_: str, said: UUID | None, after: UUID | None) -> None:
    assert domain.offer_after(newest(f"org.spean.{type_}.v1"), ONE, said) == after


def test_what_is_before_acceptance_is_before_arrival_and_nothing_that_ended_is() -> None:
    assert domain.BEFORE_ACCEPTANCE < domain.BEFORE_ARRIVAL
    assert not domain.BEFORE_ARRIVAL & {"in-progress", *ENDED}


@pytest.mark.parametrize(("state", "seconds", "waits"), [
    ("requested", 120, False), ("requested", 120.5, True), ("received", 3_600, False),
])  # fmt: skip
def test_after_two_minutes_a_request_that_nobody_took_is_shown_as_such(
    state: str, seconds: float, *, waits: bool
) -> None:
    assert domain.not_yet_with_network(state, NOW - timedelta(seconds=seconds), NOW) is waits


@pytest.mark.parametrize(
    ("person", "code", "rule"),
    [
        (replace(PERSON, service=None), "service-consent", Rule.SERVICE_CONSENT),
        (
            replace(PERSON, service=replace(SERVICE, state=ConsentState.WITHDRAWN)),
            "service-consent",
            Rule.SERVICE_CONSENT,
        ),
        (replace(PERSON, service=replace(SERVICE, valid_until=NOW)), "service-consent", Rule.CONSENT_EXPIRED),
        (replace(PERSON, service_shut=True), "service-consent", Rule.FENCED),
        (replace(PERSON, minor=True), "guardian", Rule.GUARDIAN),
        (replace(PERSON, minor=True, service=replace(SERVICE, guardian=True)), "guardian", Rule.GUARDIAN),
        (replace(PERSON, sharing=None), "sharing-consent", Rule.SHARING_CONSENT),
        (replace(PERSON, sharing=replace(SHARING, valid_until=NOW)), "sharing-consent", Rule.CONSENT_EXPIRED),
        (replace(PERSON, sharing_shut=True), "sharing-consent", Rule.FENCED),
        (ERASED, "service-consent", Rule.FENCED),
    ],
)
def test_no_hand_off_is_asked_for_without_what_it_needs(person: Person, code: str, rule: Rule) -> None:
    with pytest.raises(Refusal) as refusal:
        domain.may_request(person, NOW)
    assert (refusal.value.code, refusal.value.rule) == (code, rule)


def test_a_hand_off_may_be_asked_for_with_both_consents_and_for_a_minor_with_both_guardians() -> None:
    domain.may_request(PERSON, NOW)
    guarded = replace(
        PERSON, minor=True, service=replace(SERVICE, guardian=True), sharing=replace(SHARING, guardian=True)
    )
    domain.may_request(guarded, NOW)


# --- whom to ask, by the person's own word --------------------------------------------------------------------------------

SHELTERS, SENDER = RecipientClass(type=OrganisationType.SHELTER), UUID(int=7)
OFFERABLE = replace(
    SHARING, categories=frozenset({DataCategory.FUNCTIONAL_NEEDS}), purposes=frozenset({Purpose.REFERRAL}),
    classes=(SHELTERS,), organisations=frozenset({SENDER}),
)  # fmt: skip
NEVER_SHELTERS = Exclusion("organisation_type", "shelter")


@pytest.mark.parametrize(
    "narrower",
    [
        {"sharing": None},
        {"sharing": replace(OFFERABLE, valid_until=NOW)},
        {"sharing": replace(OFFERABLE, state=ConsentState.EXPIRED)},
        {"sharing": replace(OFFERABLE, purposes=frozenset({Purpose.SERVICE_PROVISION}))},
        {"sharing": replace(OFFERABLE, categories=frozenset({DataCategory.HEALTH}))},
        {"sharing": replace(OFFERABLE, classes=())},
        {"sharing": replace(OFFERABLE, classes=(), organisations=frozenset({SENDER, ONE})),
         "exclusions": (Exclusion("organisation", str(ONE)),)},
        {"exclusions": (NEVER_SHELTERS,)},
        {"sharing_shut": True},
        {"service_shut": True},
        {"service": None},
        {"minor": True},
    ],
)  # fmt: skip
def test_whose_own_word_leaves_nobody_has_nobody_who_may_be_asked(narrower: dict[str, object]) -> None:
    assert domain.offers_nobody(
        replace(PERSON, **{"sharing": OFFERABLE, **narrower}),  # type: ignore[arg-type]
        NOW, ServiceType.EMERGENCY_BED, SENDER,
    )  # fmt: skip


@pytest.mark.parametrize(
    "still",
    [
        {},
        {"exclusions": (Exclusion("organisation", str(ONE)), Exclusion("organisation_type", "clinic"))},
        {"sharing": replace(OFFERABLE, classes=(), organisations=frozenset({SENDER, ONE}))},
        {
            "sharing": replace(OFFERABLE, classes=(SHELTERS, RecipientClass(country="KH"))),
            "exclusions": (NEVER_SHELTERS,),
        },
    ],
)
def test_as_long_as_somebody_may_be_left_the_rules_decide(still: dict[str, object]) -> None:
    assert not domain.offers_nobody(
        replace(PERSON, **{"sharing": OFFERABLE, **still}),  # type: ignore[arg-type]
        NOW, ServiceType.EMERGENCY_BED, SENDER,
    )  # fmt: skip
