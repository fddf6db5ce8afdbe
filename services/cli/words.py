"""`spean words`: the texts of the pages and their catalogues, one file per language.

A text stands in the code in English. `update` brings every catalogue to what the code says: new texts are empty there,
those that are gone are dropped, what was translated stays. `check` says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import typer
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po
from rich.console import Console

from schemas.rights import SCOPES
from spean.geography import area_name, areas_of
from spean.web.static import WEB
from spean.web.words import LOCALES, UNREVIEWED

SOURCE = WEB.parents[1]
FAILED = 1
# How a text is marked: gettext's names, and `t.text` where a template has a value for a key.
KEYWORDS = {"_": None, "N_": None, "ngettext": (1, 2), "gettext": None}
_PYTHON = ("spean/web/**/*.py", "services/**/*.py")
_TEMPLATES = ("spean/web/templates/**/*.html", "services/**/templates/*.html")
_HEAD = f"# The pages' texts in one language. An entry marked `{UNREVIEWED}` was confirmed by nobody who speaks it."
# Provinces whose names a page shows most: those of the country that it began in, and those along its borders. Others are
# shown as CLDR has them in English until somebody adds them here.
AREAS = (*(code for code, _ in areas_of("KH")), "TH-27", "TH-63", "MM-13", "LA-BK", "CN-YN", "CN-GX")
app = typer.Typer(no_args_is_help=True, help="The texts of the pages in every language.")
_console = Console(highlight=False, soft_wrap=True)


def in_code() -> Catalog:
    """Every text that a page may show, with where it stands."""
    catalog = Catalog(fuzzy=False)
    for patterns, method in ((_PYTHON, "python"), (_TEMPLATES, "jinja2.ext.babel_extract")):
        for path in sorted(path for pattern in patterns for path in SOURCE.glob(pattern)):
            options = {"trimmed": "true", "silent": "false"} if method != "python" else {}
            for _, text, comments, _ in extract_from_file(method, path, KEYWORDS, (), options):
                catalog.add(text, locations=[(path.relative_to(SOURCE).as_posix(), 0)], auto_comments=comments)
    for text in SCOPES.values():
        catalog.add(text)
    for area in AREAS:
        catalog.add(area_name(area))
    return catalog


def _catalogues() -> Iterator[tuple[Path, Catalog]]:
    for path in sorted(LOCALES.glob("*.po")):
        with path.open("rb") as file:
            yield path, read_po(file, locale=path.stem)


def brought_up(catalog: Catalog, wanted: Catalog) -> Catalog:
    """A language's catalogue with exactly the texts of the code, what was translated kept."""
    after = Catalog(locale=catalog.locale, project="Spean", fuzzy=False, header_comment=_HEAD)
    for message in wanted:
        if not message.id:
            continue
        known = catalog.get(_key(message))
        text = known.string if known is not None and known.pluralizable == message.pluralizable else None
        marks = known.user_comments if known is not None else [UNREVIEWED]
        after.add(message.id, text or None, user_comments=marks)
    return after


def written(catalog: Catalog) -> bytes:
    out = BytesIO()
    write_po(out, catalog, width=0, omit_header=False, sort_output=True, no_location=True, include_previous=False)
    return b"\n".join(line for line in out.getvalue().split(b"\n") if not line.startswith(_DATED))


# Lines of a catalogue's head that change with every writing.
_DATED = (
    b'"POT-Creation-Date',
    b'"PO-Revision-Date',
    b'"Generated-By',
    b'"Last-Translator',
    b'"Language-Team',
    b'"Report-Msgid',
)


def missing() -> dict[str, list[str]]:
    """Language → texts of the code that it has no translation of."""
    wanted = [message for message in in_code() if message.id]
    found: dict[str, list[str]] = {}
    for path, catalog in _catalogues():
        lacking = [_key(one) for one in wanted if not _given(catalog, one)]
        if lacking:
            found[path.stem] = lacking
    return found


def _key(message: Message) -> str:
    """What a text is looked up by: itself, or its singular."""
    return message.id if isinstance(message.id, str) else message.id[0]


def _given(catalog: Catalog, wanted: Message) -> bool:
    found = catalog.get(_key(wanted))
    if found is None or found.pluralizable != wanted.pluralizable:
        return False
    return bool(found.string) and (isinstance(found.string, str) or all(found.string or ()))


@app.command()
def update() -> None:
    """Bring every catalogue to the texts of the code."""
    wanted = in_code()
    for path, catalog in _catalogues():
        path.write_bytes(written(brought_up(catalog, wanted)))
    _tell()


@app.command()
def check() -> None:
    """Say which texts are missing in which language, and how many nobody has reviewed. Exit code 1 where one is missing."""
    if _tell():
        raise typer.Exit(FAILED)


def _tell() -> bool:
    lacking = missing()
    for path, catalog in _catalogues():
        unreviewed = sum(UNREVIEWED in message.user_comments for message in catalog if message.id)
        total = sum(bool(message.id) for message in catalog)
        _console.print(
            f"{path.stem}: {total} texts, {len(lacking.get(path.stem, []))} missing, {unreviewed} unreviewed"
        )
    return bool(lacking)
