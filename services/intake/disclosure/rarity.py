"""What an offer leaves out because too few of the people now with the holder share it. Pure.

Each band is coarse, and a few of them together may still name somebody: there may be one old woman who speaks Shan. So an
offer leaves out one field after another, in one order for everybody, until enough people look the same
(`services.intake.disclosure.crowd` counts them). Each step shows less of the same: whoever puts together what any number of
offers showed of somebody learns no more than the fullest of them did, and that one was shared by enough.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from schemas.vocabulary import AgeBand
from services.intake.cases.domain import PersonFields
from services.intake.disclosure.domain import Rule

# What tells most of somebody, and can best wait for the packet, goes first; sex decides about rooms, so it goes last. Needs
# stay always: a house that takes somebody without knowing that they must be watched has not been asked at all.
LEFT_OUT = ("languages", "age_band", "sex")
# After so many steps nothing is left that could be left out; this is what is shown where nothing is known of others.
STEPS = len(LEFT_OUT)


def hidden(person: PersonFields, steps: int) -> frozenset[str]:
    """The fields that are left out of an offer after so many steps. That somebody is an infant is a need of its own."""
    always = {"age_band"} if person.band is AgeBand.INFANT else set[str]()
    return frozenset(LEFT_OUT[:steps]) - always


def look(party: Sequence[PersonFields], area: str, steps: int) -> bytes:
    """What an offer for this area shows of these people after so many steps: the same 32 bytes for all who look the same.
    What was left out looks like what was never written down; the order of a party says nothing."""
    people = [json.dumps(_shown(person, steps), sort_keys=True) for person in party]
    return hashlib.sha256(json.dumps([area, sorted(people)]).encode()).digest()


def looks(party: Sequence[PersonFields], area: str) -> list[bytes]:
    """From the fullest to the barest that could still name somebody."""
    return [look(party, area, steps) for steps in range(STEPS)]


def spared(verdicts: Mapping[str, Rule], person: PersonFields, steps: int) -> dict[str, Rule]:
    """The gate's verdicts for an offer, with what is left out of it refused."""
    out = hidden(person, steps)
    return {
        field: Rule.RARE if rule is Rule.ALLOWED and field in out else rule for field, rule in verdicts.items()
    }  # fmt: skip


def shown(party: Sequence[PersonFields], told: Sequence[set[str]]) -> list[dict[str, object]]:
    """What an offer shows of these people, of each the fields that may be told: everything in one order and once. How
    somebody happened to write it down would tell apart those who look the same, and be the same at two houses."""
    people = [
        {name: sorted(set(value)) if isinstance(value, list) else value for name, value in one.shown(fields).items()}
        for one, fields in zip(party, told, strict=True)
    ]
    return sorted(people, key=lambda one: json.dumps(one, sort_keys=True))


def _shown(person: PersonFields, steps: int) -> dict[str, object]:
    bands = {
        "age_band": person.band, "sex": person.sex, "needs": sorted(set(person.needs)),
        "languages": sorted(set(person.languages)),
    }  # fmt: skip
    out = hidden(person, steps)
    return {name: value for name, value in bands.items() if value and name not in out}
