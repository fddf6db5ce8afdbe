"""The words of the pages, in the visitor's language: one catalogue file per language, English as what is looked up.

`locale/LANGUAGE.po` adds a language. An entry marked `unreviewed` has been translated by somebody, and nobody who
speaks the language has confirmed it yet; the status page counts them. A missing one fails the tests, and is shown in
English.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_datetime, format_timedelta
from babel.messages.pofile import read_po


def N_(text: str) -> str:  # noqa: N802 (gettext's name for it)
    """Marks a text for the catalogues where it stands; it is translated where it is shown."""
    return text


LOCALES = Path(__file__).parent / "locale"
ENGLISH = "en"
# A page is read where the house is. The capital's zone stands for a country; China has one zone by law.
ZONES: Mapping[str, tuple[str, str]] = {
    "KH": ("Asia/Phnom_Penh", N_("Phnom Penh")),
    "LA": ("Asia/Vientiane", N_("Vientiane")),
    "MM": ("Asia/Yangon", N_("Yangon")),
    "TH": ("Asia/Bangkok", N_("Bangkok")),
    "VN": ("Asia/Ho_Chi_Minh", N_("Ha Noi")),
    "CN": ("Asia/Shanghai", N_("Beijing")),
}
# Digits as people write them in running text; codes and numbers that are typed again stay as they are.
_DIGITS: Mapping[str, str] = {"km": "០១២៣៤៥៦៧៨៩", "my": "၀၁၂၃၄၅၆၇၈၉"}
UNREVIEWED = "unreviewed"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One language's texts: by what stands in the code, the singular or the forms; and which nobody has reviewed."""

    texts: Mapping[str, tuple[str, ...]]
    unreviewed: frozenset[str]


@cache
def catalogue(language: str) -> Catalogue:
    if language == ENGLISH:
        return Catalogue({}, frozenset())
    with (LOCALES / f"{language}.po").open("rb") as file:
        read = read_po(file, locale=language)
    texts: dict[str, tuple[str, ...]] = {}
    unreviewed: set[str] = set()
    for message in read:
        if not message.id:
            continue
        key = message.id if isinstance(message.id, str) else message.id[0]
        given = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
        if given and all(given):
            texts[key] = given
            if UNREVIEWED in message.user_comments:
                unreviewed.add(key)
    return Catalogue(texts, frozenset(unreviewed))


@cache
def languages() -> Mapping[str, str]:
    """Every language that there is a catalogue of, by its own name; English first."""
    codes = [ENGLISH, *sorted(file.stem for file in LOCALES.glob("*.po"))]
    return {code: Locale.parse(code).get_display_name(code) or code for code in codes}


def chosen(*wanted: str | None, accepted: str = "") -> str:
    """The first wanted language that we have, else what the browser asks for (an Accept-Language header), else English."""
    have = languages()
    for one in (*wanted, *_accepted(accepted)):
        if one and one in have:
            return one
    return ENGLISH


def _accepted(header: str) -> Iterable[str]:
    return (part.split(";")[0].strip().partition("-")[0].lower() for part in header.split(",")[:20])


class Words:
    """A language, and the way in which times and numbers are written in it. `country`: whose clock is meant."""

    def __init__(self, language: str, country: str = "KH") -> None:
        self.language = language
        self._locale = Locale.parse(language)
        self._texts = catalogue(language).texts
        self._digits = str.maketrans("0123456789", _DIGITS[language]) if language in _DIGITS else {}
        name, self._city = ZONES.get(country, ZONES["KH"])
        self._zone: tzinfo = ZoneInfo(name)

    @property
    def unreviewed(self) -> bool:
        """Is there anything in this language that nobody has confirmed?"""
        return bool(catalogue(self.language).unreviewed)

    def text(self, text: str, /, **values: object) -> str:
        """The text in this language; `%(name)s` is replaced by a value, a number in the language's digits."""
        found = self._texts.get(text, (text,))[0]
        return found % self._written(values) if values else found

    def texts(self, one: str, many: str, n: int, /, **values: object) -> str:
        """The form for `n`, which is also the value `n`."""
        forms = self._texts.get(one)
        if forms is None:
            found = one if n == 1 else many
        else:
            found = forms[min(self._locale.plural_form(n) != "one", len(forms) - 1)]
        return found % self._written({"n": n, **values})

    def _written(self, values: Mapping[str, object]) -> dict[str, object]:
        return {
            name: self.number(value) if isinstance(value, int) and not isinstance(value, bool) else value
            for name, value in values.items()
        }

    def number(self, number: int) -> str:
        return str(number).translate(self._digits)

    def time(self, at: datetime) -> str:
        """Day and time, such as `Sun 22 Nov, 14:32`; with `zone` said once on the page."""
        shown = format_datetime(at, "EEE d MMM, HH:mm", tzinfo=self._zone, locale=self._locale)
        return shown.translate(self._digits)

    def date(self, at: datetime) -> str:
        """Day, year and time, for what stands longer than a season: `22 Nov 2026, 14:32`."""
        shown = format_datetime(at, "d MMM yyyy, HH:mm", tzinfo=self._zone, locale=self._locale)
        return shown.translate(self._digits)

    def day(self, at: datetime) -> str:
        """The day alone, with its year: `22 Nov 2026`."""
        shown = format_datetime(at, "d MMM yyyy", tzinfo=self._zone, locale=self._locale)
        return shown.translate(self._digits)

    def clock(self, at: datetime) -> str:
        """The time of the day alone."""
        return format_datetime(at, "HH:mm", tzinfo=self._zone, locale=self._locale).translate(self._digits)

    @property
    def zone(self) -> str:
        """Whose clock the page's times are by."""
        return self.text(N_("Times are %(city)s time."), city=self.text(self._city))

    def span(self, length: timedelta) -> str:
        """A length of time in its largest unit, such as `12 minutes`."""
        shown = format_timedelta(abs(length), threshold=1.5, format="long", locale=self._locale)
        return shown.translate(self._digits)

    def local(self, at: datetime) -> datetime:
        """The same moment by the clock of the page."""
        return at.astimezone(self._zone)

    def moment(self, day_and_time: datetime) -> datetime:
        """A time that was typed on the page, with its zone."""
        return day_and_time.replace(tzinfo=self._zone)
