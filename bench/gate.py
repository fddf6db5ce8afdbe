"""How many verdicts about one field the gate gives in a second, on one core: everything of one person to one house."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

from bench.figures import Figure
from bench.ground import REPEATS, SHORT
from schemas.questions import OrganisationFacts
from schemas.vocabulary import (
    ConsentDecision,
    ConsentState,
    DataCategory,
    OrganisationStatus,
    OrganisationType,
    Purpose,
    Served,
    ServiceGroup,
    ServiceType,
)
from services.intake.cases.fields import CATEGORY_OF
from services.intake.disclosure.domain import Consent, Exclusion, Person, disclose
from services.intake.disclosure.recipients import RecipientClass
from services.intake.disclosure.rulebook import Agreement, Ask, NeedToKnow, Rules

TIMES = 2_000 if SHORT else 10_000
# As many rules as a network of a hundred organisations has.
RULES = 200


def measure() -> list[Figure]:
    """Beside nothing: there is nothing simpler that gives the same answer."""
    figure = Figure("gate, verdicts about one field", "", "verdicts/s", "more", "", 50_000)
    ask, person, rules = _question()
    fields = list(CATEGORY_OF)
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(TIMES):
            disclose(fields, ask, person, rules)
        figure.ours.append(TIMES * len(fields) / (time.perf_counter() - began))
    return [figure]


def _question() -> tuple[Ask, Person, Rules]:
    now, sender, house, network = datetime(2026, 1, 2, tzinfo=UTC), UUID(int=1), UUID(int=2), UUID(int=3)
    everything, purposes = frozenset(DataCategory), frozenset(Purpose)

    def consent(decision: ConsentDecision) -> Consent:
        return Consent(
            decision, ConsentState.GIVEN, 1, everything, purposes, frozenset(),
            (RecipientClass(OrganisationType.SHELTER, serves=frozenset({Served.WOMEN})),), datetime(2026, 1, 1, tzinfo=UTC), None, guardian=False,
        )  # fmt: skip

    facts = OrganisationFacts(
        organisation=house, type=OrganisationType.SHELTER, country="KH", law_enforcement=False,
        status=OrganisationStatus.ACTIVE, serves=(Served.GIRLS, Served.WOMEN),
    )  # fmt: skip
    person = Person(
        minor=False, service=consent(ConsentDecision.SERVICE), sharing=consent(ConsentDecision.SHARE_REFERRAL),
        exclusions=(Exclusion("law_enforcement", "any"),), sharing_shut=False, service_shut=False,
        others=(consent(ConsentDecision.MEDICAL), consent(ConsentDecision.FORENSIC_EXAM)),
    )  # fmt: skip
    rules = Rules(
        tuple(
            NeedToKnow(
                UUID(int=1000 + at), UUID(int=3 + at % 10), ServiceGroup.SHELTER, "packet", frozenset(CATEGORY_OF)
            )
            for at in range(RULES)
        ),
        tuple(Agreement(UUID(int=2000 + at), sender, UUID(int=2 + at), everything, purposes) for at in range(RULES)),
        (),
    )
    ask = Ask(
        sender, network, facts, "packet", Purpose.REFERRAL, ServiceGroup.SHELTER, "KH", now, ServiceType.FORENSIC_EXAM
    )
    return ask, person, rules
