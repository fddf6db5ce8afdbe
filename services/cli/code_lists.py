"""The code lists that people decide with and partners map theirs to, each with a version and with labels in every language of
the pages. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum

from schemas import vocabulary as v
from spean.web.labels import label
from spean.web.words import ENGLISH, catalogue, languages

# By name, with the digest of each version's codes, the first one first: whoever changes a list adds one. A code is added or
# falls out of use; it never comes to mean something else.
LISTS: Mapping[str, tuple[type[StrEnum], tuple[str, ...]]] = {
    "consent-decision": (v.ConsentDecision, ("83205a8cd4e1",)),
    "consent-state": (v.ConsentState, ("6aab087cbb11",)),
    "identification-status": (v.IdentificationStatus, ("b84eb1889741",)),
    "deciding-body": (v.DecidingBody, ("e2ed96d48be7",)),
    "data-category": (v.DataCategory, ("54f9953009a6",)),
    "purpose": (v.Purpose, ("86ba534ac2de",)),
    "need": (v.Need, ("f08eae3b0f79",)),
    "age-band": (v.AgeBand, ("637f6169f751",)),
    "sex": (v.Sex, ("a6e381706f1c",)),
    "organisation-type": (v.OrganisationType, ("48e69666239f",)),
    "served": (v.Served, ("5ed1aa418686",)),
    "service-group": (v.ServiceGroup, ("0a850aa46ebf",)),
    "service-type": (v.ServiceType, ("3a45e0dff117",)),
    "urgency": (v.Urgency, ("465afa864270",)),
    "decline-reason": (v.DeclineReason, ("9fff23f467cd",)),
    "outcome": (v.Outcome, ("269a215ea7ba",)),
}


def digest(codes: type[StrEnum]) -> str:
    """Of the codes of a list, whatever their order: 12 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(codes)).encode()).hexdigest()[:12]


def document() -> str:
    """Every list: `name`, `version`, and its codes with their labels by language; a label that nobody has translated is not
    there."""
    lists = [
        {"name": name, "version": len(versions), "codes": [{"code": code, "labels": labels(code)} for code in codes]}
        for name, (codes, versions) in LISTS.items()
    ]
    return json.dumps({"lists": lists}, indent=2, ensure_ascii=False) + "\n"


def labels(code: StrEnum) -> dict[str, str]:
    """By language, English first."""
    text = label(code)
    translated = {one: catalogue(one).texts.get(text) for one in languages() if one != ENGLISH}
    return {ENGLISH: text, **{one: found[0] for one, found in translated.items() if found}}
