"""Which decision of the person's own a kind of service needs, beside the service and sharing. Pure; dated data of this
holder.

Each is an act of its own upon the person (an examination, a report to the police, a journey home), which agreeing to help
does not cover (field practice: the WHO's and UNICEF's guidance on care after violence asks for each by itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from schemas.vocabulary import ConsentDecision, OrganisationType, ServiceType

_D, _S = ConsentDecision, ServiceType


@dataclass(frozen=True, slots=True)
class _Table:
    """In force since a day: service → decision, and service → decision where an embassy gives it."""

    since: date
    always: Mapping[ServiceType, ConsentDecision]
    of_embassies: Mapping[ServiceType, ConsentDecision]


_TABLES = (
    _Table(
        date(2026, 1, 1),
        {
            _S.FORENSIC_EXAM: _D.FORENSIC_EXAM, _S.POLICE_REPORT: _D.POLICE, _S.FORMAL_IDENTIFICATION: _D.IDENTIFICATION,
            _S.TRACING: _D.TRACING, _S.FAMILY_ASSESSMENT: _D.FAMILY_CONTACT,
            _S.FAMILY_RECONCILIATION: _D.FAMILY_CONTACT, _S.TRAVEL_DOCUMENTS: _D.CROSS_BORDER_RETURN,
            _S.ESCORTED_RETURN: _D.CROSS_BORDER_RETURN, _S.RECEPTION: _D.CROSS_BORDER_RETURN,
        },
        dict.fromkeys(
            (_S.IMMIGRATION_STATUS, _S.CIVIL_DOCUMENTS, _S.NATIONALITY_VERIFICATION, _S.TRAVEL_DOCUMENTS), _D.CONSULAR
        ),
    ),
)  # fmt: skip


def needed(
    service_type: ServiceType | None, now: datetime, by: OrganisationType | None = None
) -> tuple[ConsentDecision, ...]:
    """What a hand-off for this service needs, from an organisation of this type (None: from whomever)."""
    if service_type is None:
        return ()
    table = next((one for one in reversed(_TABLES) if one.since <= now.astimezone(UTC).date()), None)
    if table is None:
        return ()
    found = [table.always[service_type]] if service_type in table.always else []
    if by is OrganisationType.EMBASSY and service_type in table.of_embassies:
        found.append(table.of_embassies[service_type])
    return tuple(found)
