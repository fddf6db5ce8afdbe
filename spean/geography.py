"""Provinces and countries, from the ISO lists that `pycountry` keeps."""

from __future__ import annotations

from functools import cache

import pycountry


@cache
def _areas() -> frozenset[str]:
    return frozenset(subdivision.code for subdivision in pycountry.subdivisions)


def known_area(area: str) -> bool:
    """Is it an ISO 3166-2 code?"""
    return area in _areas()


@cache
def _names() -> dict[str, str]:
    return {subdivision.code: subdivision.name for subdivision in pycountry.subdivisions}


def area_name(area: str) -> str:
    """The province's name in Latin letters, as ISO gives it; the code itself where it is not known any more."""
    return _names().get(area, area)


def areas_of(country: str) -> list[tuple[str, str]]:
    """(code, name) of every province of a country, by name."""
    return sorted(
        ((code, name) for code, name in _names().items() if code.startswith(f"{country}-")), key=lambda one: one[1]
    )
