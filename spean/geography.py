"""Provinces and countries, from the ISO lists that `pycountry` keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pycountry

# From Unicode's CLDR (subdivisions, English); its licence lies beside it.
_NAMES = Path(__file__).parent / "areas.json"


@cache
def _areas() -> frozenset[str]:
    return frozenset(subdivision.code for subdivision in pycountry.subdivisions)


def known_area(area: str) -> bool:
    """Is it an ISO 3166-2 code?"""
    return area in _areas()


@cache
def names() -> Mapping[str, str]:
    """Code → the name that people know, in English (CLDR), of every province of the six countries; of others ISO's."""
    kept: dict[str, str] = json.loads(_NAMES.read_text(encoding="utf-8"))
    return {subdivision.code: kept.get(subdivision.code, subdivision.name) for subdivision in pycountry.subdivisions}


def area_name(area: str) -> str:
    """The province's name in English, to be translated; the code itself where it is not known any more."""
    return names().get(area, area)


def areas_of(country: str) -> list[tuple[str, str]]:
    """(code, English name) of every province of a country, by name."""
    of_country = ((code, name) for code, name in names().items() if code.startswith(f"{country}-"))
    return sorted(of_country, key=lambda one: one[1])
