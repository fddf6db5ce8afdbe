"""What was typed into a form: read strictly, kept as it was typed when something is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from spean.problem import REFUSALS, Refusal
from spean.web.refusals import PROBLEMS
from spean.web.words import N_

M = TypeVar("M", bound=BaseModel)
# More than any form of ours has.
_FIELDS_MOST = 500
# Fields of every form, which are nobody's answer.
TOKEN, KEY, VERSION = "csrf", "key", "version"
OWN = frozenset({TOKEN, KEY, VERSION})
# Never shown again, in no page.
SECRET = frozenset({"password", "password_again"})

# What pydantic calls an error → what a person can do about it.
SAID: Mapping[str, str] = {
    "missing": N_("Answer this question."),
    "string_too_short": N_("Answer this question."),
    "too_short": N_("Choose at least one."),
    "string_too_long": N_("This is too long: shorten it."),
    "too_long": N_("There are too many here: leave some out."),
    "int_parsing": N_("Write a whole number, such as 3."),
    "int_type": N_("Write a whole number, such as 3."),
    "greater_than": N_("This number is too small."),
    "greater_than_equal": N_("This number is too small."),
    "less_than": N_("This number is too large."),
    "less_than_equal": N_("This number is too large."),
    "enum": N_("Choose one of the answers."),
    "literal_error": N_("Choose one of the answers."),
    "unknown_code": N_("Choose one of the answers."),
    "string_pattern_mismatch": N_("This is not written as it should be: look at the example."),
    "datetime_parsing": N_("Write a day and a time."),
    "datetime_from_date_parsing": N_("Write a day and a time."),
    "timezone_aware": N_("Write a day and a time."),
    "in_the_future": N_("This lies in the future."),
}
OTHERWISE = N_("This cannot be used as it is written: look at it again.")


class Incomplete(Exception):
    """Some answers are missing or cannot be used. `errors`: field → what to do, to be translated."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(", ".join(sorted(errors)))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields that were sent, each with its values in order."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def one(self, name: str) -> str:
        """The single answer, without blanks around it; empty where there is none."""
        given = self.values.get(name, ())
        return given[0].strip() if given else ""

    def some(self, name: str) -> str | None:
        """The single answer, or None where it was left empty."""
        return self.one(name) or None

    def all(self, name: str) -> list[str]:
        """Every answer that is not empty."""
        return [value.strip() for value in self.values.get(name, ()) if value.strip()]

    def kept(self) -> list[tuple[str, str]]:
        """What the visitor answered, to be sent again."""
        left_out = OWN | SECRET
        return [(name, value) for name, values in self.values.items() if name not in left_out for value in values]


def said_of(refusal: Refusal) -> str:
    """What a refusal means, for the field that it is about."""
    return PROBLEMS.get(refusal.code, REFUSALS[refusal.code][1])


def at_field(refusal: Refusal, about: Mapping[str, str], said: Mapping[str, str] | None = None) -> Incomplete:
    """A refusal at the field that it is about (code → field), in the words of `said` (code → text) where they fit better
    than the usual ones. Raises the refusal where it is about none."""
    if refusal.code not in about:
        raise refusal
    return Incomplete({about[refusal.code]: (said or {}).get(refusal.code) or said_of(refusal)})


def parsed(body: bytes) -> Form:
    """Raises Refusal `unreadable`."""
    try:
        sent = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_MOST, errors="strict")
    except ValueError:
        raise Refusal("unreadable") from None
    values: dict[str, list[str]] = {}
    for name, value in sent:
        # PostgreSQL holds no NUL; browsers send CRLF for each line's end.
        if "\x00" in value:
            raise Refusal("unreadable")
        values.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return Form(values)


def read(model: type[M], answers: Mapping[str, Any]) -> M:
    """The answers as the model that the API takes. Raises Incomplete."""
    try:
        return model.model_validate({name: value for name, value in answers.items() if value is not None}, strict=False)
    except ValidationError as error:
        found = {str(one["loc"][0]) if one["loc"] else "": one["type"] for one in error.errors(include_input=False)}
        raise Incomplete({name: SAID.get(kind, OTHERWISE) for name, kind in found.items()}) from None
