"""`python -m bench.joins`: how often two houses that pool what they were told find the same person in both heaps, by what an
offer says and by when it came, and what coarser times would do to that. Writes docs/joins.md; the same each time.

Nobody real: people are drawn with weights that are made up, and so are the days. What an offer shows of them is what the
holder's own code shows, and what it leaves out because few look like that is what `rarity` leaves out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.ground import ROOT
from schemas.vocabulary import AgeBand, Need, ServiceType, Sex, Urgency
from services.intake.cases.domain import PersonFields
from services.intake.cases.fields import OFFER_FIELDS
from services.intake.disclosure import rarity

PAGE = ROOT / "docs" / "joins.md"
DAYS, SEED = 30, 1
# So many people who are refused at the first house are put to the other at once; of the rest half go to the other anyway.
REFUSED, OTHERS = 0.3, 0.5
A_DAY = (2, 20, 200)
# How many have to look the same before an offer may show them so (the holder's default), among the month's people.
ENOUGH = 5
AREA = "KH-1"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = "not at all"
GRAINS = {
    "second": timedelta(seconds=1), "minute": timedelta(minutes=1), "quarter of an hour": timedelta(minutes=15),
    "hour": timedelta(hours=1), "day": timedelta(days=1), NEVER: timedelta(days=DAYS + 2),
}  # fmt: skip
WEIGHTS = {
    "age_band": {"adult": 62, "adolescent": 20, "child": 8, "older": 8, "infant": 2},
    "sex": {"female": 80, "male": 18, "other": 2},
    "languages": {"khm": 50, "vie": 15, "lao": 10, "tha": 10, "mya": 10, "zho": 5},
    "service_type": {"emergency_bed": 60, "medium_term_shelter": 30, "assessment_shelter": 10},
    "urgency": {"urgent": 45, "normal": 30, "emergency": 20, "immediate": 5},
}
# How often each is needed.
NEEDED = {
    "interpreter": 0.3, "female_staff": 0.25, "high_security": 0.1, "nursing": 0.08, "infant_care": 0.08,
    "one_to_one_watch": 0.05, "step_free": 0.04, "male_staff": 0.02,
}  # fmt: skip
WITH_NEED_BY = 0.4


@dataclass(frozen=True, slots=True)
class Somebody:
    """Who is asked for: what is written down, what is asked, and by when (to the minute) where that is said."""

    number: int
    fields: PersonFields
    asked: tuple[str, ...]
    need_by: datetime | None


@dataclass(frozen=True, slots=True)
class Offer:
    """`bands`: what it could show at most; `told`: without what is left out as rare; `at`: when one house lost it, or when it
    came to the other."""

    person: int
    bands: str
    told: str
    need_by: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Heaps:
    """What the first house refused, and what came to the other."""

    refused: list[Offer]
    came: list[Offer]


def _drawn(rng: random.Random, name: str) -> str:
    weights = WEIGHTS[name]
    return rng.choices(list(weights), list(weights.values()))[0]


def _somebody(rng: random.Random, number: int, at: datetime) -> Somebody:
    fields = PersonFields(
        age_band=AgeBand(_drawn(rng, "age_band")), sex=Sex(_drawn(rng, "sex")),
        needs=tuple(Need(need) for need, share in NEEDED.items() if rng.random() < share),
        languages=(_drawn(rng, "languages"),),
    )  # fmt: skip
    asked = (ServiceType(_drawn(rng, "service_type")), Urgency(_drawn(rng, "urgency")))
    soon = at.replace(second=0, microsecond=0) + timedelta(minutes=rng.randrange(60, 2880))
    return Somebody(number, fields, asked, soon if rng.random() < WITH_NEED_BY else None)


def _said(one: Somebody, fields: set[str]) -> str:
    """An offer's words about somebody."""
    return json.dumps([one.fields.shown(fields), *one.asked])


def heaps(a_day: float, seed: int = SEED) -> Heaps:
    """A month of two houses."""
    rng, found = random.Random(f"{seed} {a_day}"), Heaps([], [])
    moments = [BEGIN + timedelta(days=DAYS * rng.random()) for _ in range(int(a_day * DAYS))]
    people = [_somebody(rng, number, at) for number, at in enumerate(moments)]
    crowd = Counter(look for one in people for look in rarity.looks([one.fields], AREA))
    for one, at in zip(people, moments, strict=True):
        looks = rarity.looks([one.fields], AREA)
        steps = next((step for step, look in enumerate(looks) if crowd[look] >= ENOUGH), rarity.STEPS)
        fields = set(OFFER_FIELDS)
        said = (one.number, _said(one, fields), _said(one, fields - rarity.hidden(one.fields, steps)), one.need_by)
        if rng.random() < REFUSED:
            lost = at + timedelta(minutes=rng.expovariate(1 / 20))
            found.refused.append(Offer(*said, lost))
            # The next is asked at once: as long as it takes the network to ask the holder.
            found.came.append(Offer(*said, lost + timedelta(seconds=rng.uniform(0.05, 0.5))))
        elif rng.random() < OTHERS:
            found.came.append(Offer(*said, at))
    return found


def linked(found: Heaps, key: Callable[[Offer], Hashable], grain: timedelta) -> float:
    """The share of those refused of whom the two houses can be sure: in the other heap one offer alone fits by `key` and by
    time, it is theirs, and it fits nobody else who was refused. A time in the cell of the refusal or in the next one fits."""
    came: dict[Hashable, list[int]] = {}
    for one in found.came:
        came.setdefault((key(one), _cell(one.at, grain)), []).append(one.person)
    fitting = {
        one.person: [person for next_ in (0, 1) for person in came.get((key(one), _cell(one.at, grain) + next_), [])]
        for one in found.refused
    }
    claimed = Counter(person for some in fitting.values() for person in some)
    sure = sum(some == [person] and claimed[person] == 1 for person, some in fitting.items())
    return sure / len(found.refused)


def _cell(at: datetime, grain: timedelta) -> int:
    return (at - BEGIN) // grain


# What is compared beside the time → how.
KEYS: dict[str, Callable[[Offer], Hashable]] = {
    "nothing else": lambda _: None,
    "what offers tell": lambda one: one.told,
    "the same and *need by*": lambda one: (one.told, one.need_by),
    "all bands, nothing left out": lambda one: one.bands,
}


def table(a_day: Sequence[float] = A_DAY) -> list[tuple[str, str, list[float]]]:
    """(times known to the, compared beside it, share for each of `a_day`)."""
    months = [heaps(one) for one in a_day]
    return [
        (grain, name, [linked(month, key, length) for month in months])
        for grain, length in GRAINS.items()
        for name, key in KEYS.items()
        if not (grain == NEVER and name == "nothing else")
    ]


_ABOVE = """\
# What two partners could still join

Written by `python -m bench.joins`; the same each time.

**By an id, a number, an ETag or an address: nothing.** A sender has the referral's id, a house the ids of its own offers, and
neither ever comes to the other, also not inside a signed token. `security/test_collusion.py` keeps everything that each
organisation receives (answers, heads, addresses, pages, packets, tickets, streams, mails) while people go through several
houses, and compares the heaps. Known exceptions: the coordinator who owns a referral has its id as its sender has, and the
offer's id of a house asked by hand; a sender who may know who the house is (`placement`) is shown its signed statement about a
copy, which names the offer. Whoever has read the same packet needs no id: it says a name.

**By what offers say and when they come: this.** Two houses; so many people a day come to them together, {refused:.0%} are refused
at the first and put to the other at once, {others:.0%} of the rest go to the other anyway. Below stands the share of those refused
whom the two find again *and can be sure of*, in a month. People, needs and days are made up (`bench/joins.py`); what offers tell
of them is the holder's own code, which leaves out what fewer than {enough} share.

| times known to the | compared beside it | {heads} |
|---|---|{lines}|
"""
_BELOW = """
- **Times join.** Who refuses at 14:03 and hears that somebody else was asked at 14:03 needs nothing else. It would not help to
  *show* times rounded: when something came a house knows from its own clock, the mail and the `Date` of every answer. Offers would
  have to be *sent* later, in batches; the rows from the quarter of an hour on say what that would give. The price is half of it on
  average, for each house that is asked, waited by somebody without a bed. Where few people come, even an hour hides almost nobody.
  We do not do it.
- **Bands join, too, wherever needs differ.** Age, sex and language are left out where they are rare; needs never are, for a house
  that takes somebody without knowing that they must be watched has not been asked at all. They are what is left.
- ***Need by*** is told to the minute. A sender's system could say a millionth of a second, which was a number of the person's own.
  An hour or a day instead changes none of these figures by more than five hundredths: it is seldom alone.
- A sender and a house are joined by times in the same way: one knows when it asked, the other when an offer came.
- Where two houses are always asked one after the other, they know it from habit.
"""


def page() -> str:
    """The whole page."""
    heads = " | ".join(f"{a_day} a day" for a_day in A_DAY)
    lines = "|".join(["---:"] * len(A_DAY))
    above = _ABOVE.format(refused=REFUSED, others=OTHERS, enough=ENOUGH, heads=heads, lines=lines)
    rows = [f"| {grain} | {name} | {' | '.join(f'{one:.0%}' for one in shares)} |\n" for grain, name, shares in table()]
    return above + "".join(rows) + _BELOW


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
