"""Everything that an organisation ever received, and what two of them find in both heaps."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote

import httpx

_TOKEN = re.compile(r"\b(eyJ[\w-]+)\.([\w-]{8,})\.[\w-]*")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
# Longer than any word of a code list that has a digit in it.
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{12,}")
# A version or a count of places tells nobody apart; from here on a number may.
_NUMBER = re.compile(r"(?<![\w.#&])\d{4,}(?![\w.])")
_ETAG = re.compile(r'etag: (?!"v\d{1,3}"$)(.+)', re.IGNORECASE | re.MULTILINE)
# What every answer has, or what belongs to one browser alone.
_NO_MATTER = frozenset({"date", "set-cookie", "content-length"})
_LATELY_S = 2 * 86_400


@dataclass
class Pool:
    """What one organisation received: (where it was, the text), in order."""

    received: list[tuple[str, str]] = field(default_factory=list)

    def take(self, place: str, text: str) -> None:
        self.received.append((place, text))

    def listen(self, client: httpx.AsyncClient) -> None:
        """From now on everything that comes to this client; streams are taken by whoever reads them."""
        client.event_hooks = {"response": [self._heard]}

    async def _heard(self, answer: httpx.Response) -> None:
        place = f"{answer.request.method} {answer.request.url.path}"
        self.take(f"address of {place}", str(answer.request.url))
        heads = [f"{name}: {value}" for name, value in answer.headers.multi_items() if name not in _NO_MATTER]
        self.take(f"head of {place}", "\n".join(heads))
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
            self.take(place, answer.text)

    def marks(self) -> dict[str, str]:
        """Whatever could be the name of one thing → where it was seen first."""
        found: dict[str, str] = {}
        for place, text in self.received:
            for mark in marks(text):
                found.setdefault(mark, place)
        return found

    def common(self, other: Pool, *everybodys: str, bystander: Pool) -> dict[str, tuple[str, str]]:
        """What stands in both pools (mark → where in each) and is not everybody's: neither named here nor known to a
        bystander, who belongs to the same network and was never told anything about anybody."""
        mine, theirs, plain = self.marks(), other.marks(), bystander.marks()
        public = {mark for one in everybodys for mark in marks(one)} | plain.keys()
        return {mark: (mine[mark], theirs[mark]) for mark in sorted(mine.keys() & theirs.keys() - public)}


def marks(text: str) -> set[str]:
    """Ids in either spelling, numbers, moments told to the second or finer, ETags, and other opaque texts; also those inside
    signed tokens."""
    found = {one.strip() for one in _ETAG.findall(text)}
    for token in _TOKEN.findall(text):
        found |= {mark for part in token for mark in marks(_opened(part))}
    plain = unquote(_TOKEN.sub(" ", text))
    found |= set(_moments(plain))
    plain = _DAY.sub(" ", _TIME.sub(" ", plain))
    found |= {one.lower().replace("-", "") for one in _ID.findall(plain)}
    plain = _ID.sub(" ", plain)
    found |= {one for one in _OPAQUE.findall(plain) if any(letter.isdigit() for letter in one) and not one.isdigit()}
    found |= {one for one in _NUMBER.findall(plain) if not _is_now(int(one))}
    return found


def _opened(part: str) -> str:
    try:
        return json.dumps(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
    except ValueError:
        return ""


def _moments(text: str) -> Iterator[str]:
    """Whole minutes are times like others' (they are measured elsewhere); what is finer is as good as a number."""
    for written in _TIME.findall(text):
        try:
            moment = datetime.fromisoformat(written)
        except ValueError:
            continue
        if moment.second or moment.microsecond:
            yield moment.astimezone(UTC).isoformat()


def _is_now(number: int) -> bool:
    """Seconds or milliseconds of these days: a time, told no finer than every answer's `Date`."""
    return any(abs(number / unit - time.time()) < _LATELY_S for unit in (1, 1000))
