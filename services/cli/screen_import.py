"""Taking a screened group's file in through the public API, chunk by chunk; going on where an import stopped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from services.cli import screen_file
from services.cli.client import ApiProblem, Partner
from services.cli.screen_file import Row

# The API takes 500 rows and 256 kB at most; JSON may double a line.
CHUNK_ROWS = 500
CHUNK_BYTES = 60_000
# A service that restarts is back within seconds; after these waits the import stops, and goes on when it is run again.
WAITS_S = (0.5, 1, 2, 4, 8)
_MAY_PASS = frozenset({"busy", "key-running"})

Told = Callable[[int], object]
Counts = Counter[tuple[str | None, str, bool]]


@dataclass(frozen=True, slots=True)
class Imported:
    """A finished import: the screening as the API shows it, how many rows were in before, how long the rest took, and
    how many rows have which finding: (column, why, refused) → rows."""

    screening: dict[str, Any]
    before: int
    seconds: float
    counts: Counts

    @property
    def rows_per_s(self) -> float:
        """0 where there was nothing left to do."""
        new: int = self.screening["rows_done"] - self.before
        return new / self.seconds if new else 0.0


class _Sender:
    """Rows on their way to one screening, two chunks at a time: one is taken in while the next is read, sent and checked.
    Where another import of the same file is ahead, its rows are passed over."""

    def __init__(self, partner: Partner, screening: dict[str, Any], told: Told) -> None:
        self._partner, self._told = partner, told
        self.screening = screening
        self._address = f"/intake/screenings/{screening['id']}"
        self._rows: list[Row] = []
        self._next = self._bytes = 0
        self._sending: asyncio.Task[None] | None = None

    @property
    def done(self) -> int:
        done: int = self.screening["rows_done"]
        return done

    async def add(self, row: Row) -> None:
        """Raises ApiProblem, also for a chunk that was added before."""
        number, self._next = self._next, self._next + 1
        if number < self.done:
            return
        self._rows.append(row)
        self._bytes += row.size_bytes
        if len(self._rows) >= CHUNK_ROWS or self._bytes >= CHUNK_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Raises ApiProblem."""
        await self._flush()
        if self._sending is not None:
            await self._sending
        self.screening = await _patiently(self._partner, f"{self._address}/finish", {"rows": self._next})

    async def stop(self) -> None:
        """Nothing is on its way any more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _flush(self) -> None:
        """Begin to send what waits; returns when the chunk before it is in. Raises ApiProblem."""
        if not self._rows:
            return
        before, rows = self._sending, self._rows
        self._sending = asyncio.create_task(self._send(self._next - len(rows), rows, before))
        self._rows, self._bytes = [], 0
        if before is not None:
            await before

    async def _send(self, first: int, rows: list[Row], before: asyncio.Task[None] | None) -> None:
        """Until these rows are in, whoever took them in. `before` sends the rows in front of them. Raises ApiProblem."""
        while rows:
            known = self.done
            body = {"from_row": first, "rows": [row.body() for row in rows]}
            try:
                self._came(await _patiently(self._partner, f"{self._address}/rows", body))
            except ApiProblem as problem:
                if problem.code != "state":
                    raise
                if before is None:
                    await self._look_again(known)
                else:  # it was overtaken
                    await before
                    before = None
            passed = max(self.done - first, 0)
            first, rows = first + passed, rows[passed:]
            self._told(self.done)

    async def _look_again(self, known: int) -> None:
        """Somebody else has taken a part of these rows in. Raises ApiProblem where it is not that."""
        self._came(await self._partner.get(self._address))
        if self.done <= known:
            raise ApiProblem(409, {"type": "state", "detail": "The screening does not go on: read it again."})

    def _came(self, screening: dict[str, Any]) -> None:
        """Answers may come in another order than they were given."""
        if screening["rows_done"] >= self.done:
            self.screening = screening


async def take_in(partner: Partner, path: Path, area: str, *, begun: Callable[[int], object] = lambda _: None,
                  told: Told = lambda _: None) -> Imported:  # fmt: skip
    """Import a file as entries of a screened group. `begun` hears about how many rows there are, `told` how many are in.

    Raises NotThisLayout, OSError, ApiProblem, httpx.TransportError.
    """
    found = screen_file.scan(path)
    begun(found.rows)
    screening = await _patiently(partner, "/intake/screenings", {"digest": found.digest, "area": area})
    before, started = screening["rows_done"], time.monotonic()
    if screening["finished_at"] is None:
        sender = _Sender(partner, screening, told)
        try:
            for row in screen_file.read(path, found.digest):
                await sender.add(row)
            await sender.finish()
        finally:
            await sender.stop()
        screening = sender.screening
    seconds = time.monotonic() - started
    told(screening["rows_done"])
    counts: Counts = Counter()
    async for one in findings(partner, screening["id"]):
        counts[one["column"], one["why"], one["refused"]] += 1
    return Imported(screening, before, seconds, counts)


async def findings(partner: Partner, screening: str) -> AsyncIterator[dict[str, Any]]:
    """What was refused or doubtful, in the order of the file, page by page. Raises ApiProblem."""
    after = 0
    while page := (await partner.get(f"/intake/screenings/{screening}/findings?after={after}"))["findings"]:
        for one in page:
            yield one
        after = page[-1]["number"]


async def _patiently(partner: Partner, path: str, body: Any) -> Any:
    """POST, the same again with the same key where the service is busy or away for a moment. Raises ApiProblem,
    httpx.TransportError."""
    key = str(uuid4())
    for wait_s in WAITS_S:
        try:
            return await partner.post(path, body, key=key)
        except ApiProblem as problem:
            if problem.code not in _MAY_PASS:
                raise
        except httpx.TransportError:
            pass
        await asyncio.sleep(wait_s)
    return await partner.post(path, body, key=key)
