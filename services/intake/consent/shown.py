"""What a person decided, ready to be told in words to the staff who talked it through. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, OrganisationType, Purpose
from services.intake.disclosure.domain import Exclusion, Person, Rule, standing
from spean.http import View

State = Literal["open", "given", "guardian", "ended", "refused", "withdrawn"]


class Class(View):
    """A class of recipients; `type` None is every type, `country` None every country."""

    type: OrganisationType | None
    country: str | None


class Never(View):
    """With whom nothing is ever shared: an organisation, a type of organisation, or, with neither, law enforcement."""

    organisation: UUID | None = None
    type: OrganisationType | None = None


def never_of(one: Exclusion) -> Never:
    if one.kind == "organisation":
        return Never(organisation=UUID(one.value))
    return Never(type=OrganisationType(one.value)) if one.kind == "organisation_type" else Never()


class Decided(View):
    """One decision as it stands now. `open`: not talked through yet. `guardian`: the person has agreed, and is under 18
    without a guardian's consent."""

    state: State
    at: datetime | None = None
    until: datetime | None = None
    language: str | None = None
    interpreter: bool = False
    expressed: str | None = None
    guardian: str | None = None
    notice: str | None = None
    categories: tuple[DataCategory, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    organisations: tuple[UUID, ...] = ()
    classes: tuple[Class, ...] = ()


class Consents(View):
    """Both decisions and the exclusions in force; `shut` where a withdrawal or a refusal has shut the gate."""

    service: Decided
    sharing: Decided
    never: tuple[Never, ...]
    version: int


def consents_of(rows: Mapping[ConsentDecision, Any], person: Person, version: int, now: datetime) -> Consents:
    """`rows`: the latest record of each decision."""
    service, sharing = (rows.get(one) for one in (ConsentDecision.SERVICE, ConsentDecision.SHARE_REFERRAL))
    return Consents(
        service=_decided(service, standing(person.service, person, now), shut=person.service_shut),
        sharing=_decided(sharing, standing(person.sharing, person, now), shut=person.stopped),
        never=tuple(map(never_of, person.exclusions)), version=version,
    )  # fmt: skip


def _decided(row: Any, rule: Rule, *, shut: bool) -> Decided:
    if row is None:
        return Decided(state="open")
    recipients = json.loads(row["recipients"])
    guardian = json.loads(row["guardian"]) if row["guardian"] else None
    return Decided(
        state=_state(row["state"], rule, shut=shut), at=row["recorded_at"], until=row["valid_until"], language=row["language"],
        interpreter=row["interpreter"], expressed=row["expressed"], notice=row["notice"],
        guardian=guardian and guardian["relationship"], categories=row["categories"], purposes=row["purposes"],
        organisations=recipients["organisations"], classes=tuple(Class(**one) for one in recipients["classes"]),
    )  # fmt: skip


def _state(recorded: str, rule: Rule, *, shut: bool) -> State:
    if recorded == ConsentState.REFUSED:
        return "refused"
    if recorded == ConsentState.WITHDRAWN or shut:
        return "withdrawn"
    if rule is Rule.CONSENT_EXPIRED:
        return "ended"
    return "guardian" if rule is Rule.GUARDIAN else "given"
