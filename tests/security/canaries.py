"""What is planted, in which places it is searched for, and how: as it is, or in any common disguise."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import asyncpg

from services.intake.cases.domain import PersonFields

# One word in each script that people here write in, besides Latin: Khmer, Lao, Thai, Burmese, Vietnamese, Chinese.
WORDS = ("ស្រីមុំ", "ນ້ອຍດາວ", "มะลิวัลย์", "မြတ်နိုး", "Nguyễn Thị Hoài", "王小莲小莲", "Sreymom Chanthavy")
# Codes and numbers: too short to be searched for. What they may become elsewhere is the contracts' tests' business.
CODED = frozenset({"age_years", "age_band", "sex", "needs", "languages", "citizenship"})


def token(number: int) -> str:
    """A plain text that is nowhere but where it was planted."""
    return f"zq{number:04d}qz"


def word(number: int) -> str:
    """The same, between two words of two scripts."""
    return f"{WORDS[number % len(WORDS)]} {token(number)} {WORDS[(number + 3) % len(WORDS)]}"


def person(first: int) -> dict[str, object]:
    """A canary in every field of a person that takes a text; a new field must be planted too, or be one of the codes."""
    fields: dict[str, object] = {}
    for number, (name, field) in enumerate(sorted(PersonFields.model_fields.items()), first):
        if name not in CODED:
            many = "tuple" in str(field.annotation)
            fields[name] = [word(number)] if many else word(number)
    return fields


def texts(fields: Mapping[str, object]) -> set[str]:
    """Every text in a person's fields, also in lists."""
    found = {value for value in fields.values() if isinstance(value, str)}
    return found | {text for value in fields.values() if isinstance(value, list) for text in value}


def forms(canary: str) -> set[bytes]:
    """The canary's bytes: plain, escaped, percent-encoded, in hexadecimal, in UTF-16, in Base64 at any offset."""
    raw = canary.encode()
    found = {raw, raw.hex().encode(), canary.encode("utf-16-le"), quote(canary).encode()}
    found |= {json.dumps(canary)[1:-1].encode(), repr(raw)[2:-1].encode()}
    for offset in range(3):
        # What the bytes before and after do not touch: whole groups of three.
        coded = base64.b64encode(b"\0" * offset + raw)
        found.add(coded[4 if offset else 0 : len(coded) - 4])
    return found


# Any token: plain, in hexadecimal, in UTF-16.
_TOKEN = re.compile(rb"zq(\d{4})qz|7a71((?:3\d){4})717a|z\0q\0((?:\d\0){4})q\0z")


class Search:
    """Looks for many canaries in many places; `found` is (place, canary)."""

    def __init__(self, canaries: Iterable[str]) -> None:
        self._forms = {canary: forms(canary) for canary in (*canaries, *WORDS)}
        self.found: set[tuple[str, str]] = set()

    def look(self, place: str, content: bytes | str) -> None:
        """In every disguise."""
        raw = content.encode() if isinstance(content, str) else content
        self._look_for_tokens(place, raw)
        for canary, shapes in self._forms.items():
            if any(shape in raw for shape in shapes):
                self.found.add((place, canary))

    def look_in_files(self, place: str, folder: Path) -> int:
        """Every file below a folder, for any token and any of the words as they are. Returns how many bytes."""
        size = 0
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                content = file.read_bytes()
                size += len(content)
                self._look_for_tokens(place, content)
                self.found.update((place, one) for one in WORDS if one.encode() in content)
        return size

    def _look_for_tokens(self, place: str, raw: bytes) -> None:
        for plain, coded, wide in _TOKEN.findall(raw):
            digits = plain or bytes.fromhex(coded.decode()) or wide.replace(b"\0", b"")
            self.found.add((place, token(int(digits))))

    async def look_in_database(self, name: str, address: str) -> int:
        """Every row of every table of a database, whatever schema it is in. Returns how many rows."""
        conn, rows = await asyncpg.connect(address), 0
        try:
            for table in await conn.fetch(
                "select format('%I.%I', schemaname, tablename) as quoted, tablename from pg_tables "
                "where schemaname not in ('pg_catalog', 'information_schema')"
            ):
                for row in await conn.fetch(f"select t::text from {table['quoted']} t"):
                    self.look(f"{name}.{table['tablename']}", row[0])
                    rows += 1
        finally:
            await conn.close()
        return rows
