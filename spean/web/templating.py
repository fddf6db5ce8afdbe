"""Templates: Jinja2 with everything escaped, a missing name is an error, words from the catalogues.

`web/NAME` lies in this package's `templates/`, `SERVICE/ROOM/NAME` in the room's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from spean.geography import area_name
from spean.web import labels
from spean.web.navigation import items_for
from spean.web.static import WEB, assets
from spean.web.words import languages

SOURCE = WEB.parents[1]
# Words for codes that are no vocabulary of their own.
_LABELS = ("FIELDS", "RULES", "BASES", "STATES", "OFFER_STATES", "CHANNELS", "CLASSES", "EXPRESSED", "GUARDIANS")


def path_of(name: str) -> Path:
    """The file of a template."""
    first, _, rest = name.partition("/")
    if first == "web":
        return WEB / "templates" / rest
    room, _, file = rest.rpartition("/")
    return SOURCE / "services" / first / room / "templates" / file


def _source(name: str) -> str | None:
    path = path_of(name)
    return path.read_text(encoding="utf-8") if path.is_file() else None


@cache
def environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, extensions=["jinja2.ext.i18n"], auto_reload=False,
    )  # fmt: skip
    made.globals.update({name: getattr(labels, name) for name in _LABELS})
    made.globals.update(
        asset=lambda name: assets()[name], known_assets=assets, icon=_icon, items_for=items_for, label=labels.label,
        languages=languages, area_name=area_name, language_name=_language_name, country_name=_country_name,
    )  # fmt: skip
    return made


def render(name: str, shown: Mapping[str, Any]) -> str:
    """The page. `shown["words"]` are its words: `_("text", name=value)`, `ngettext("one", "many", n)` in templates."""
    words = shown["words"]
    translated = {"_": words.text, "gettext": words.text, "ngettext": words.texts, "t": words}
    return environment().get_template(name).render({**shown, **translated})


# ISO 639-3, as records have it → what the names of languages are kept under (CLDR knows the shortest code of each).
_SHORT = {"khm": "km", "lao": "lo", "vie": "vi", "mya": "my", "tha": "th", "cmn": "zh", "zha": "za", "eng": "en"}


def _language_name(code: str, language: str) -> str:
    """A spoken language's name in the page's language; in English, else the code, where that is not known."""
    short = _SHORT.get(code, code)
    for one in (language, "en"):
        found: str | None = Locale.parse(one).languages.get(short)
        if found is not None:
            return found
    return code


def _country_name(code: str, language: str) -> str:
    """A country's name in the page's language; the code where it is not known."""
    found: str | None = Locale.parse(language).territories.get(code)
    return code if found is None else found


def _icon(name: str) -> Markup:
    """A small picture from the sprite; words stand beside it, so it is hidden from screen readers."""
    return Markup('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>').format(
        assets()["icons.svg"].address, name
    )
