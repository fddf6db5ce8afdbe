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
