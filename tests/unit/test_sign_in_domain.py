"""Names, passwords, waits and who may approve: the rules of signing in, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from schemas.rights import StaffRole
from services.referral.people import domain as people
from services.referral.people.domain import By, Person, Recovery, Status
from services.referral.sessions import domain
from services.referral.sessions.desk import place_of
from spean.problem import Refusal

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
PERSON = Person(uuid4(), uuid4(), "Dara", "dara", "km", frozenset({StaffRole.SENDER}), Status.ACTIVE, 3)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Dara.Sok", "dara.sok"),
        ("  dara  ", "dara"),
        ("e\u0301va", "\u00e9va"),  # composed
        ("e\u200b\u0301va", "\u00e9va"),  # what is not seen keeps nothing apart
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ដារ\u17b6\u200b", "ដារ\u17b6"),  # a space of no width
        ("dara\ufeff@desk", "dara@desk"),
    ],
)
def test_names_are_compared_as_people_mean_them(typed: str, kept: str) -> None:
    assert people.new_sign_in_name(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "ab", "a" * 61, ".dara", "da ra", "dara\x00", "da\nra", "dara/x", "<b>dara", "-", "😀dara"]
)
def test_what_is_no_sign_in_name(typed: str) -> None:
    with pytest.raises(Refusal, match="invalid"):
        people.new_sign_in_name(typed)


@pytest.mark.parametrize(
    ("typed", "rule"),
    [
        ("short", "too-short"),
        ("elevenchars", "too-short"),
        ("x" * 257, "too-long"),
        ("aaaaaaaaaaaaaa", "common"),
        ("Password-1234", "common"),
        ("Qwertyuiop 123", "common"),
        ("123456789012", "common"),
        ("my name is DARA, really", "has-name"),
        ("half a pair \ud800 and on", "common"),
    ],
)
def test_a_password_that_is_refused(typed: str, rule: str) -> None:
    with pytest.raises(Refusal) as refused:
        domain.new_password(typed, "dara")
    assert (refused.value.code, refused.value.rule) == ("password", rule)


@pytest.mark.parametrize("typed", ["twelve chars", "x1y2z" + "w" * 251, "ខ្ញុំស្រលាញ់ទន្លេ", "  blanks stay  "])
def test_a_password_that_is_taken_as_it_is(typed: str) -> None:
    assert domain.new_password(typed, "dara") == typed


def test_a_password_is_the_same_on_every_keyboard() -> None:
    assert domain.new_password("cafe\u0301 au lait noir", "dara") == domain.normal_password("caf\u00e9 au lait noir")


def test_waits_double_and_end() -> None:
    pair = domain.LIMITS["pair"]
    assert [pair.wait(failures).total_seconds() for failures in (1, 5, 6, 7, 8, 9)] == [0, 0, 1, 2, 4, 8]
    assert pair.wait(10**9) == timedelta(minutes=15)
    longest = {kind: limit.wait(10**9) for kind, limit in domain.LIMITS.items()}
    assert longest["name"] == timedelta(minutes=1), "what any stranger can cause is short"
    assert max(longest.values()) <= timedelta(days=1)


def test_a_thousand_tries_are_a_few_lines() -> None:
    noted = [failures for failures in range(1, 1_001) if domain.worth_noting(failures)]
    assert noted == [5, 10, 20, 40, 80, 160, 320, 640]


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("123456", "123456"),
        (" 123 456 ", "123456"),
        ("១២៣៤៥៦", "123456"),
        ("12345", ""),
        ("12345a", ""),
        ("1234567", ""),
    ],
)
def test_codes_as_people_type_them(typed: str, code: str) -> None:
    assert domain.plain_code(typed) == code


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("9.9.9.9", "9.9.9.9"),
        ("2620:fe:1:2:3:4:5:6", "2620:fe:1:2::/64"),
        ("2620:fe:1:2:ffff::1", "2620:fe:1:2::/64"),
        ("::ffff:9.9.9.9", "9.9.9.9"),
        # A proxy's, perhaps: nobody is told apart by these.
        ("127.0.0.1", None),
        ("10.1.2.3", None),
        ("::1", None),
        ("fd00::1", None),
        ("::ffff:172.18.0.5", None),
        ("unix:", None),
        ("", None),
    ],
)
def test_a_place_is_what_one_site_has(address: str, place: str | None) -> None:
    assert place_of(address) == place


# --- people -----------------------------------------------------------------------------------------------------------


def test_a_change_says_what_changed_and_never_a_name() -> None:
    after, detail = people.changed(PERSON, name="Dara Sok", language="en", roles=frozenset(), status=Status.LOCKED)
    assert detail == {
        "name": "changed",
        "language": ["km", "en"],
        "roles": [["sender"], []],
        "status": ["active", "locked"],
    }
    assert after.version == PERSON.version + 1


def test_nothing_changed_is_no_change() -> None:
    assert people.changed(PERSON, name=" Dara ", roles=PERSON.roles) == (PERSON, {})


def test_who_has_left_stays_as_they_were() -> None:
    with pytest.raises(Refusal, match="state"):
        people.changed(replace(PERSON, status=Status.LEFT), status=Status.ACTIVE)


def test_work_that_changes_ends_sessions_a_name_does_not() -> None:
    assert people.ends_sessions(PERSON, replace(PERSON, roles=frozenset({StaffRole.RECEIVER})))
    assert people.ends_sessions(PERSON, replace(PERSON, status=Status.LOCKED))
    assert not people.ends_sessions(PERSON, replace(PERSON, name="Other", language="en"))


def test_administrators_are_made_at_their_own_organisation_only() -> None:
    """And officers, whose rules hold for the whole network."""
    mine, other = uuid4(), uuid4()
    whole = frozenset({StaffRole.ADMINISTRATOR, StaffRole.OFFICER})
    people.expect_roles(By(uuid4(), mine), mine, whole)
    people.expect_roles(people.OPERATOR, other, whole)
    people.expect_roles(By(uuid4(), mine), other, frozenset(StaffRole) - whole)
    for role in whole:
        with pytest.raises(Refusal, match="administrator-elsewhere"):
            people.expect_roles(By(uuid4(), mine), other, frozenset({role, StaffRole.SENDER}))


def test_two_different_administrators_neither_of_them_the_person() -> None:
    person, first, second = uuid4(), By(uuid4(), uuid4()), By(uuid4(), uuid4())
    asked = Recovery(uuid4(), person, NOW, None, None)
    assert not people.approve(asked, first, NOW)
    begun = replace(asked, first_by=first.person, first_at=NOW)
    assert people.approve(begun, second, NOW + timedelta(hours=24))
    assert not people.approve(begun, second, NOW + timedelta(hours=24, seconds=1)), "old: counts as the first"
    for nobody in (first, By(person, uuid4()), people.OPERATOR):
        with pytest.raises(Refusal, match="two-administrators"):
            people.approve(begun, nobody, NOW)
    with pytest.raises(Refusal, match="two-administrators"):
        people.approve(asked, By(person, uuid4()), NOW)
