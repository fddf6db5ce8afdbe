"""What a yes must be before it is written down: dated soundly, after a notice that the person could understand, and not against
itself. A no is never looked at like that. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from schemas.vocabulary import YES, ConsentDecision, ConsentState
from services.intake.consent.domain import Record
from services.intake.consent.notices import ENGLISH, Notice, notice_called, written_in
from services.intake.disclosure.domain import Exclusion
from services.intake.disclosure.recipients import NEVER_BY_CLASS
from spean.problem import Refusal


def expect_sound(decided: Record, never: Collection[Exclusion], now: datetime) -> None:
    """`never`: the exclusions in force. Raises Refusal `consent-dates`, `notice-unknown`, `notice-language`,
    `notice-expired`, `consent-contradictory`."""
    if decided.valid_from > now or (decided.valid_until is not None and decided.valid_until <= decided.valid_from):
        raise Refusal("consent-dates")
    if decided.state not in YES:
        return
    expect_heard(decided, notice_called(decided.notice), now)
    against = _against_itself(decided, never)
    if against:
        raise Refusal("consent-contradictory", errors=[{"at": f"body.{at}", "why": why} for at, why in against])


def expect_heard(decided: Record, notice: Notice | None, now: datetime) -> None:
    """The notice that the record names is in force, and in the person's language; or an interpreter speaks the English one.
    Raises Refusal `notice-unknown`, `notice-language`, `notice-expired`."""
    if notice is None:
        raise Refusal("notice-unknown")
    if notice.ended is not None and notice.ended <= now.date():
        raise Refusal("notice-expired")
    spoken = notice.language == ENGLISH and not written_in(decided.language, notice.version)
    if notice.language != decided.language and not spoken:
        raise Refusal("notice-language")


def _against_itself(decided: Record, never: Collection[Exclusion]) -> list[tuple[str, str]]:
    """(field, reason) of what cannot be meant."""
    if decided.state is ConsentState.RE_CONFIRMED:
        parts = (("categories", decided.categories), ("purposes", decided.purposes))
        found = [(name, "confirmed_as_it_was") for name, given in parts if given]
        return found + ([("recipients", "confirmed_as_it_was")] if any(decided.recipients.values()) else [])
    found = []
    if decided.decision is ConsentDecision.SHARE_REFERRAL:
        found += [(name, "missing") for name in ("categories", "purposes") if not getattr(decided, name)]
        found += [] if any(decided.recipients.values()) else [("recipients", "missing")]
    excluded = {(one.kind, one.value) for one in never}
    for organisation in decided.recipients["organisations"]:
        if {("organisation", str(UUID(organisation))), ("official", str(UUID(organisation)))} & excluded:
            found.append(("recipients.organisations", "excluded"))
    for one in decided.recipients["classes"]:
        if ("organisation_type", one["type"]) in excluded:
            found.append(("recipients.classes", "excluded"))
        if one["type"] in NEVER_BY_CLASS:
            found.append(("recipients.classes", "by_name_only"))
    return found
