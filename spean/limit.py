"""How often something may be asked for: token buckets by key, in memory that does not grow, and how HTTP says so.

Each process counts for itself: a limit keeps a flood from costing much, it is no quota to be billed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections import OrderedDict
from typing import NamedTuple

# Bits of an IPv6 address that one household or office has.
_IPV6_SITE = 64


class Left(NamedTuple):
    """What is left of a key's quota: how many, whole `seconds` until there is one more, and whether this one was in it."""

    allowed: bool
    remaining: int
    seconds: int


class Limit:
    """`quota` at once, and as many again over `window_s`, for each key. The `keys_most` keys used last are remembered; one
    that is forgotten has its whole quota again."""

    def __init__(self, name: str, quota: int, window_s: int, keys_most: int = 10_000) -> None:
        self._name, self._quota, self._window_s, self._keys_most = name, quota, window_s, keys_most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> Left:
        """Count one for `key`; what is over the quota is not counted."""
        now = asyncio.get_running_loop().time()
        held, since = self._buckets.pop(key, (float(self._quota), now))
        held = min(self._quota, held + (now - since) * self._quota / self._window_s)
        allowed = held >= 1
        held -= allowed
        self._buckets[key] = held, now
        if len(self._buckets) > self._keys_most:
            self._buckets.popitem(last=False)
        more_s = (math.floor(held) + 1 - held) * self._window_s / self._quota
        return Left(allowed, math.floor(held), math.ceil(more_s))

    def headers(self, left: Left) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 writes them; where it was too much, when to come back."""
        said = {
            "RateLimit-Policy": f'"{self._name}";q={self._quota};w={self._window_s}',
            "RateLimit": f'"{self._name}";r={left.remaining};t={left.seconds}',
        }
        return said if left.allowed else {**said, "Retry-After": str(left.seconds)}


def address_in(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, an IPv4 one that is written as IPv6 as itself; None for anything else."""
    try:
        found = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def site_of(host: str | None) -> str:
    """Who an address belongs to, as far as can be told: itself, or of an IPv6 address its /64."""
    found = address_in(host)
    if found is None or found.version == 4:
        return str(found or "")
    return str(ipaddress.ip_network((found, _IPV6_SITE), strict=False))
