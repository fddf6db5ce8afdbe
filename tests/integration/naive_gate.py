"""Who may be told what, judged naively: what a person has said is a few plain values, and the rule is a list of ifs. Nothing
here is the holder's own; it is written from what the network promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

BELONGS = {
    "age_band": "functional_needs", "sex": "functional_needs", "needs": "functional_needs",
    "languages": "functional_needs", "safety_notes": "safety", "name": "identity", "age_years": "identity",
    "citizenship": "identity", "phone": "contact", "contact_notes": "contact", "family_notes": "family",
    "health_notes": "health", "account": "account", "exploitation": "account", "means_of_control": "account",
    "recruiter_notes": "alleged_offender", "legal_notes": "legal_status", "documents": "documents_photo",
    "receiver": "placement", "arrival": "placement", "address": "placement",
}  # fmt: skip
# How long what stands in for consent counts at most; until a second person has said yes, a day.
LASTS = {"vital_interest": timedelta(hours=72), "court_order": timedelta(days=365),
         "best_interests_assessment": timedelta(days=14)}  # fmt: skip
UNCONFIRMED = timedelta(hours=24)
OFFER = ("age_band", "sex", "needs", "languages")
AUTHORITIES = ("police", "embassy", "ministry")


@dataclass
class Word:
    """A yes to one decision, as it stands."""

    since: datetime
    until: datetime | None
    guardian: bool
    categories: list[str] = field(default_factory=list)
    purposes: list[str] = field(default_factory=list)
    organisations: list[str] = field(default_factory=list)
    classes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Marked:
    """A basis that is in force until it ends; `said`: how much the person had said when it was written."""

    kind: str
    categories: list[str]
    purposes: list[str]
    organisations: list[str]
    classes: list[dict[str, Any]]
    until: datetime
    said: int


@dataclass
class Said:
    """Everything that a person has said so far. A `None` is a no, or nothing at all."""

    minor: bool
    service: Word | None = None
    sharing: Word | None = None
    never: list[tuple[str, str]] = field(default_factory=list)
    sharing_shut: bool = False
    service_shut: bool = False
    times: int = 0
    marked: dict[str, Marked] = field(default_factory=dict)
    # What is remembered apart from everything else, and outlives a database: how much was said by then, what was shut.
    kept: tuple[int, bool, bool] = (0, False, False)

    def agrees(self, decision: str, word: Word) -> None:
        self.times += 1
        before = self.service if decision == "service" else self.sharing
        narrower = before is not None and (before.until is None or word.since < before.until)
        if decision == "service":
            self.service, self.service_shut = word, False
        else:
            self.sharing, self.sharing_shut = word, False
        if narrower:  # a yes over one that stood: it may be
            self.keeps(shut=True)

    def keeps(self, *, shut: bool = False) -> None:
        """Less may be told from now on."""
        self.kept = (self.times, shut or self.sharing_shut, self.service_shut)

    def forgets(self, since: Said) -> None:
        """Everything said after this is lost, of which `since` is what had been said. What was narrowed is remembered: nothing
        is shared until it was talked through again."""
        if since.kept[0] > self.times:
            self.times, self.sharing_shut, self.service_shut = since.kept
            self.kept = since.kept

    def stops(self, decision: str) -> None:
        """All of it: said for the first time, or while something stood."""
        both = decision == "service"
        if not self.sharing_shut or (both and not self.service_shut):
            self.times += 1
        self.sharing, self.sharing_shut = None, True
        if both:
            self.service, self.service_shut = None, True
        self.keeps()

    def excludes(self, never: tuple[str, str]) -> None:
        self.times += 1
        self.never.append(never)
        self.keeps(shut=True)

    def lifts(self, never: tuple[str, str]) -> None:
        self.times += 1
        self.never = [one for one in self.never if one != never]

    def takes_back(self, part: str, value: Any) -> None:
        """One part of what may be shared."""
        word = self.sharing
        if word is None:
            return
        lists = {"category": word.categories, "purpose": word.purposes, "recipient": word.organisations}
        before = len(lists.get(part, word.classes))
        if part == "class":
            word.classes = [one for one in word.classes if not _same_houses(one, value)]
            fewer = len(word.classes) < before
        else:
            lists[part][:] = [one for one in lists[part] if one != value]
            fewer = len(lists[part]) < before
        never = ("organisation", str(value))
        new = part == "recipient" and bool(word.classes) and never not in self.never
        if not fewer and not new:
            return
        if not word.categories or not word.purposes or not (word.organisations or word.classes):
            self.stops("sharing")
            return
        self.times += 1
        if new:
            self.never.append(never)
        self.keeps(shut=True)


def _same_houses(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Could a house be of both classes?"""
    return not any(one.get(part) and other.get(part) and one[part] != other[part] for part in ("type", "country"))


@dataclass
class Organisation:
    """Who is told; `works` until it is suspended."""

    id: str
    type: str
    country: str
    works: bool = True


@dataclass
class Rules:
    """What is in force at the holder of a country: fields by stage; (sender, recipient) → categories and purposes; categories by
    country."""

    country: str = "KH"
    needed: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {"offer": {}, "packet": {}, "placement": {}}
    )
    agreements: dict[str, tuple[str, str, list[str], list[str]]] = field(default_factory=dict)
    corridors: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


PURPOSE = {"offer": "referral", "packet": "service_provision", "placement": "follow_up"}


def may_be_told(
    name: str, stage: str, teller: str, told: Organisation, said: Said, rules: Rules, now: datetime
) -> bool:
    """May this field of this person go to them, from `teller`, at this stage, now? The first no ends it."""
    if name not in BELONGS or not told.works:
        return False
    category, purpose = BELONGS[name], PURPOSE[stage]
    if not _rules_allow(name, category, stage, teller, told, rules):
        return False
    standing = [
        one for one in said.marked.values()
        if now < one.until and category in one.categories and purpose in one.purposes
        and (told.id in one.organisations or _of_a_class(told, one.classes))
    ]  # fmt: skip
    stopped = said.sharing_shut or said.service_shut
    if any(one.kind == "court_order" and (not stopped or one.said >= said.times) for one in standing):
        return True
    if _never(told, said) or stopped:
        return False
    if any(one.kind == "vital_interest" and one.said >= said.times for one in standing):
        return True
    assessed = any(one.kind == "best_interests_assessment" for one in standing)
    for word in (said.service, said.sharing):
        if word is None or now < word.since or (word.until is not None and now >= word.until):
            return False
        if said.minor and not word.guardian and not assessed:
            return False
    sharing = said.sharing
    if sharing is None or category not in sharing.categories or purpose not in sharing.purposes:
        return False
    return told.id in sharing.organisations or _of_a_class(told, sharing.classes)


def _rules_allow(name: str, category: str, stage: str, teller: str, told: Organisation, rules: Rules) -> bool:
    if not any(name in fields for fields in rules.needed[stage].values()):
        return False
    if not any(
        between == teller and to == told.id and category in categories and PURPOSE[stage] in purposes
        for between, to, categories, purposes in rules.agreements.values()
    ):
        return False
    return told.country == rules.country or any(
        country == told.country and category in categories for country, categories in rules.corridors.values()
    )


def _never(told: Organisation, said: Said) -> bool:
    for kind, value in said.never:
        if kind == "organisation" and value == told.id:
            return True
        if kind == "organisation_type" and value == told.type:
            return True
        if kind == "law_enforcement" and told.type == "police":
            return True
    return False


def _of_a_class(told: Organisation, classes: list[dict[str, Any]]) -> bool:
    if told.type in AUTHORITIES:
        return False
    return any(not _differs(one.get("type"), told.type) and not _differs(one.get("country"), told.country)
               for one in classes)  # fmt: skip


def _differs(asked: str | None, has: str) -> bool:
    return asked is not None and asked != has
