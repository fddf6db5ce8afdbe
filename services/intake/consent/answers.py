"""The steps of talking consent through: which come in which order, what each asks, and what is recorded of the answers.

Nothing is asked that an earlier answer has made needless, and nothing of a needless answer is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from schemas.vocabulary import DataCategory, Language, Purpose
from services.intake.consent.api import ClassBody, ConsentBody, ExclusionBody, Expressed, Relationship
from services.intake.consent.notices import notice_in
from services.intake.consent.shown import Class
from services.intake.drafts.domain import Answers
from spean.http import Body
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Form, Incomplete
from spean.web.refusals import PROBLEMS
from spean.web.words import N_

Step = Literal[
    "language", "notice", "help", "share", "what", "why", "whom", "never", "until", "guardian", "how"
]  # fmt: skip
# The fields of each step's form.
FIELDS: Mapping[Step, tuple[str, ...]] = {
    "language": ("language", "interpreter"), "notice": ("notice",), "help": ("help",), "share": ("share",),
    "what": ("categories",), "why": ("purposes",), "whom": ("classes", "organisations"),
    "never": ("never", "never_asked", "official_at", "official_name"),
    "until": ("until",), "guardian": ("guardian", "guardian_expressed", "guardian_suspected"), "how": ("expressed",),
}  # fmt: skip
# What a person may choose as the end of sharing; the shortest is the emergency profile's.
UNTIL: Mapping[str, timedelta | None] = {
    "withdrawn": None,
    "30-days": timedelta(days=30),
    "72-hours": timedelta(hours=72),
}
NOBODY = "nobody"
# Kinds of organisations that may be kept out as a whole, as a form has them.
NEVER_KINDS = ("law_enforcement", "organisation_type:embassy", "organisation_type:ministry")
BOTH = N_("This organisation is among those who may be told. Take it from one of the two.")


class _Language(Body):
    language: Language
    interpreter: Literal["yes", "no"]


class _Notice(Body):
    notice: Annotated[str, Field(min_length=1, max_length=100)]


class _Help(Body):
    help: Literal["yes", "no"]


class _Share(Body):
    share: Literal["yes", "no"]


class _What(Body):
    categories: Annotated[tuple[DataCategory, ...], Field(min_length=1, max_length=20)]


class _Why(Body):
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=10)]


class _Whom(Body):
    """A class is `TYPE COUNTRY SERVES`, an organisation its id; at least one of either."""

    classes: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    organisations: Annotated[tuple[UUID, ...], Field(max_length=100)] = ()


class _Never(Body):
    """`law_enforcement`, `organisation_type:TYPE` or `organisation:ID`; none is an answer, too. An official is named with
    their organisation."""

    never: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    never_asked: Literal["1"]
    official_at: UUID | None = None
    official_name: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class _Until(Body):
    until: Literal["withdrawn", "30-days", "72-hours"]


class _Guardian(Body):
    guardian: Literal["nobody", Relationship]
    guardian_expressed: Expressed | None = None
    guardian_suspected: Literal["yes"] | None = None


class _How(Body):
    expressed: Expressed


_MODELS: Mapping[Step, type[BaseModel]] = {
    "language": _Language, "notice": _Notice, "help": _Help, "share": _Share, "what": _What, "why": _Why, "whom": _Whom,
    "never": _Never, "until": _Until, "guardian": _Guardian, "how": _How,
}  # fmt: skip
_SEVERAL = frozenset({"categories", "purposes", "classes", "organisations", "never"})


def path(answers: Answers, *, minor: bool) -> list[Step]:
    """The steps that these answers lead through."""
    form = Form(answers)
    steps: list[Step] = ["language", "notice", "help"]
    if form.one("help") == "yes":
        steps.append("share")
        if form.one("share") == "yes":
            steps += ["what", "why", "whom", "never", "until"]
        if minor:
            steps.append("guardian")
    return [*steps, "how"]


def after(step: Step, answers: Answers, *, minor: bool) -> str:
    """The step that follows, or `check`; from a step that these answers do not lead through any more (another tab has taken
    another way), the first that is not answered."""
    steps = path(answers, minor=minor)
    if step not in steps:
        unanswered = wrong(answers, minor=minor)
        return unanswered[0] if unanswered else "check"
    place = steps.index(step) + 1
    return steps[place] if place < len(steps) else "check"


def before(step: Step, answers: Answers, *, minor: bool) -> Step:
    """The step that leads to this one; the first, where these answers do not lead to it."""
    steps = path(answers, minor=minor)
    return steps[max(steps.index(step) - 1, 0)] if step in steps else steps[0]


def wrong(answers: Answers, *, minor: bool) -> tuple[Step, Incomplete] | None:
    """The first step without a usable answer."""
    for step in path(answers, minor=minor):
        try:
            read(step, answers)
        except Incomplete as error:
            return step, error
    return None


def read(step: Step, answers: Answers) -> Any:
    """A step's answers as its model. Raises Incomplete."""
    form = Form(answers)
    given = {name: form.all(name) if name in _SEVERAL else form.some(name) for name in FIELDS[step]}
    found = forms.read(_MODELS[step], given)
    if isinstance(found, _Notice) and found.notice != notice_read(answers):
        raise Incomplete({"notice": forms.SAID["missing"]})  # it was read in another language
    if isinstance(found, _Whom):
        if not found.classes and not found.organisations:
            raise Incomplete({"classes": forms.SAID["too_short"]})
        for one in found.classes:
            class_of(one)
    if isinstance(found, _Never):
        _expect_meant(found, answers)
    if isinstance(found, _Guardian) and found.guardian != NOBODY and found.guardian_expressed is None:
        raise Incomplete({"guardian_expressed": forms.SAID["missing"]})
    if isinstance(found, _Guardian) and found.guardian != NOBODY and found.guardian_suspected:
        raise Incomplete({"guardian_suspected": PROBLEMS["guardian-suspected"]})
    return found


def _expect_meant(found: _Never, answers: Answers) -> None:
    """Raises Incomplete, also where somebody is both to be told and never to be told."""
    _expect_whole_official(Form(answers))
    told = set(Form(answers).all("organisations"))
    for one in found.never:
        if exclusion_of(one).value in told:
            raise Incomplete({"never": BOTH})
    if str(found.official_at) in told:
        raise Incomplete({"official_at": BOTH})


def _expect_whole_official(form: Form) -> None:
    """Raises Incomplete."""
    for one, other in (("official_at", "official_name"), ("official_name", "official_at")):
        if form.one(other) and not form.one(one):
            raise Incomplete({one: forms.SAID["missing"]})


def class_value(one: Class) -> str:
    """A class as a form has it: `TYPE COUNTRY SERVES`, each empty where it is every one."""
    return f"{one.type or ''} {one.country or ''} {','.join(one.serves)}".rstrip()


def class_of(value: str) -> ClassBody:
    """Raises Incomplete."""
    type_, _, rest = value.partition(" ")
    country, _, serves = rest.partition(" ")
    named = serves.split(",") if serves else []
    try:
        return forms.read(ClassBody, {"type": type_ or None, "country": country or None, "serves": named})
    except Incomplete:
        raise Incomplete({"classes": forms.SAID["enum"]}) from None


def exclusion_of(value: str) -> ExclusionBody:
    """Raises Incomplete."""
    kind, _, named = value.partition(":")
    try:
        found = forms.read(ExclusionBody, {"kind": kind, "value": named or "any"})
        found.exclusion()
    except (Incomplete, Refusal):
        raise Incomplete({"never": forms.SAID["enum"]}) from None
    return found


def exclusions(answers: Answers) -> list[ExclusionBody]:
    """With whom nothing is to be shared, where there is something to share. Raises Incomplete."""
    return never_in(Form(answers)) if "never" in path(answers, minor=False) else []


def never_in(form: Form) -> list[ExclusionBody]:
    """Who must never be told, as a form says it. Raises Incomplete."""
    _expect_whole_official(form)
    found = [exclusion_of(one) for one in form.all("never")]
    if form.one("official_at"):
        at, name = form.one("official_at"), form.one("official_name")
        found.append(forms.read(ExclusionBody, {"kind": "official", "value": at, "name": name}))
    return found


def decisions(answers: Answers, now: datetime, *, minor: bool) -> list[ConsentBody]:
    """What is recorded: the service, and where the person wants it, sharing. Raises Incomplete."""
    found = wrong(answers, minor=minor)
    if found is not None:
        raise found[1]
    form = Form(answers)
    guardian = None
    if minor and form.one("help") == "yes" and form.one("guardian") != NOBODY:
        guardian = {"relationship": form.one("guardian"), "expressed": form.one("guardian_expressed")}
    how = {
        "expressed": form.one("expressed"), "language": form.one("language"), "notice": form.one("notice"),
        "interpreter": form.one("interpreter") == "yes",
    }  # fmt: skip
    service = {"decision": "service", "state": _state(form.one("help")), **how, "guardian": guardian}
    if form.one("help") != "yes":
        return [forms.read(ConsentBody, service)]
    sharing: dict[str, Any] = {"decision": "share_referral", "state": _state(form.one("share")), **how}
    if form.one("share") == "yes":
        length = UNTIL[form.one("until")]
        sharing |= {
            "categories": form.all("categories"), "purposes": form.all("purposes"), "guardian": guardian,
            "recipients": recipients(answers), "valid_until": None if length is None else now + length,
        }  # fmt: skip
    return [forms.read(ConsentBody, service), forms.read(ConsentBody, sharing)]


def recipients(answers: Answers) -> dict[str, Any]:
    form = Form(answers)
    return {"classes": [class_of(one) for one in form.all("classes")], "organisations": form.all("organisations")}


def notice_read(answers: Answers) -> str:
    """The name of the notice for the language that was chosen."""
    return notice_in(Form(answers).one("language")).name


def _state(answer: str) -> str:
    return "given" if answer == "yes" else "refused"
