"""What a person decided, ready to be told in words to the staff who talked it through. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, OrganisationType, Purpose, Served
from services.intake.consent.notices import is_reviewed
from services.intake.disclosure.domain import Exclusion, Person, Rule, standing
from spean.http import View

State = Literal["open", "asked", "given", "guardian", "ended", "of_age", "refused", "withdrawn", "invalid"]


class Class(View):
    """A class of recipients; `type` None is every type, `country` None every country, `serves` empty whomever they take in."""

    type: OrganisationType | None
    country: str | None
    serves: tuple[Served, ...] = ()


class Never(View):
    """With whom nothing is ever shared: an organisation, a type of organisation, or, with neither, law enforcement.
    `officials`: it is for the sake of these (nobody is named where the name could not be sealed); None where it is not."""

    organisation: UUID | None = None
    type: OrganisationType | None = None
    officials: tuple[str, ...] | None = None
    kind: str = ""
    value: str = ""


def never_of(one: Exclusion, officials: Sequence[str] = ()) -> Never:
    return _never_of(one, officials).model_copy(update={"kind": one.kind, "value": one.value})


def _never_of(one: Exclusion, officials: Sequence[str]) -> Never:
    if one.kind == "official":
        return Never(organisation=UUID(one.value), officials=tuple(officials))
    if one.kind == "organisation":
        return Never(organisation=UUID(one.value))
    return Never(type=OrganisationType(one.value)) if one.kind == "organisation_type" else Never()


class Decided(View):
    """One decision as it stands now. `open`: not talked through yet. `of_age`: it ended because they are 18 now. `guardian`: the person has agreed, and is under 18
    without a guardian's consent. `notice_reviewed`: somebody who speaks its language has confirmed the notice that was read; None
    where none was."""

    state: State
    at: datetime | None = None
    until: datetime | None = None
    language: str | None = None
    interpreter: bool = False
    expressed: str | None = None
    guardian: str | None = None
    notice: str | None = None
    notice_reviewed: bool | None = None
    categories: tuple[DataCategory, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    organisations: tuple[UUID, ...] = ()
    classes: tuple[Class, ...] = ()


class Consents(View):
    """Both decisions and the exclusions in force; `shut` where a withdrawal or a refusal has shut the gate. `others`: the
    decisions about single acts that were ever recorded. `instead`: something stands in for the person's own word now."""

    service: Decided
    sharing: Decided
    never: tuple[Never, ...]
    version: int
    others: dict[ConsentDecision, Decided]
    instead: bool


def consents_of(
    rows: Mapping[ConsentDecision, Any], person: Person, version: int, now: datetime,
    officials: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Consents:  # fmt: skip
    """`rows`: the latest record of each decision; `officials`: names by organisation's id."""
    service, sharing = (rows.get(one) for one in (ConsentDecision.SERVICE, ConsentDecision.SHARE_REFERRAL))
    return Consents(
        service=_decided(service, standing(person.service, person, now), shut=person.service_shut),
        sharing=_decided(sharing, standing(person.sharing, person, now), shut=person.stopped),
        never=tuple(never_of(one, officials.get(one.value, ())) for one in person.exclusions), version=version, others=others_of(rows, person, now),
        instead=bool(person.obliged(now) or person.spoken_for(now)),
    )  # fmt: skip


def others_of(rows: Mapping[ConsentDecision, Any], person: Person, now: datetime) -> dict[ConsentDecision, Decided]:
    """The decisions about single acts that were ever recorded, in the order of the list. `rows`: the latest record of each."""
    return {
        one.decision: _decided(rows[one.decision], standing(one, person, now), shut=person.service_shut)
        for one in sorted(person.others, key=lambda one: list(ConsentDecision).index(one.decision))
    }


def _decided(row: Any, rule: Rule, *, shut: bool) -> Decided:
    if row is None:
        return Decided(state="open")
    recipients = json.loads(row["recipients"])
    guardian = json.loads(row["guardian"]) if row["guardian"] else None
    return Decided(
        state=_state(row["state"], rule, shut=shut), at=row["recorded_at"], until=row["valid_until"], language=row["language"],
        interpreter=row["interpreter"], expressed=row["expressed"], notice=row["notice"],
        notice_reviewed=is_reviewed(row["notice"]),
        guardian=guardian and guardian["relationship"], categories=row["categories"], purposes=row["purposes"],
        organisations=recipients["organisations"], classes=tuple(Class(**one) for one in recipients["classes"]),
    )  # fmt: skip


def _state(recorded: str, rule: Rule, *, shut: bool) -> State:
    plain: Mapping[str, State] = {
        ConsentState.REFUSED: "refused", ConsentState.REQUESTED: "asked", ConsentState.INVALIDATED: "invalid",
    }  # fmt: skip
    if recorded in plain:
        return plain[recorded]
    if recorded == ConsentState.WITHDRAWN or shut:
        return "withdrawn"
    if rule is Rule.OF_AGE:
        return "of_age"
    if rule is Rule.CONSENT_EXPIRED:
        return "ended"
    return "guardian" if rule is Rule.GUARDIAN else "given"
