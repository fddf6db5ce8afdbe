"""Templates: Jinja2 with everything escaped, a missing name is an error, words from the catalogues.

`web/NAME` lies in this package's `templates/`, `SERVICE/ROOM/NAME` in the room's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from spean.web import labels
from spean.web.navigation import items_for
from spean.web.static import WEB, assets
from spean.web.words import languages

SOURCE = WEB.parents[1]


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
    made.globals.update(
        asset=lambda name: assets()[name], languages=languages, label=labels.label, items_for=items_for, icon=_icon,
    )  # fmt: skip
    return made


def render(name: str, shown: Mapping[str, Any]) -> str:
    """The page. `shown["words"]` are its words: `_("text", name=value)`, `ngettext("one", "many", n)` in templates."""
    words = shown["words"]
    translated = {"_": words.text, "gettext": words.text, "ngettext": words.texts, "t": words}
    return environment().get_template(name).render({**shown, **translated})


def _icon(name: str) -> Markup:
    """A small picture from the sprite; words stand beside it, so it is hidden from screen readers."""
    return Markup('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>').format(
        assets()["icons.svg"].address, name
    )
