"""A lean HTTP client for load: it must cost less than what it measures, so it writes ready bytes and reads little."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# As many as a small network's systems have open at once.
LINES = 8
# What is busy is asked again, as every client does; that time counts.
BUSY, TRIES = 503, 5


class Unexpected(Exception):
    """An answer that no figure may be built on: its status and beginning."""


@dataclass(frozen=True, slots=True)
class Poured:
    """What a load of requests took: `seconds` in all, `each` of them in seconds, and the bodies of the answers."""

    seconds: float
    each: list[float]
    bodies: list[bytes]

    @property
    def per_s(self) -> float:
        return len(self.each) / self.seconds


def request(method: str, url: str, path: str, body: Any = None, **headers: str) -> bytes:
    """The bytes of one request; underscores in header names are hyphens."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(content)}"]
    if body is not None:
        lines.append("Content-Type: application/json")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def pour(url: str, requests: Sequence[bytes], status: int, at_once: int = LINES) -> Poured:
    """Send all of these over a few lines that stay open. Raises Unexpected for another status, OSError."""
    todo, each, bodies = iter(requests), list[float](), list[bytes]()
    host, port = urlsplit(url).hostname, urlsplit(url).port
    opened = [await asyncio.open_connection(host, port) for _ in range(at_once)]
    began = time.perf_counter()
    async with asyncio.TaskGroup() as lines:
        for reader, writer in opened:
            lines.create_task(_work(reader, writer, todo, status, each, bodies))
    seconds = time.perf_counter() - began
    for _, writer in opened:
        writer.close()
    return Poured(seconds, each, bodies)


async def _work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, todo: Iterator[bytes], status: int,
                each: list[float], bodies: list[bytes]) -> None:  # fmt: skip
    for one in todo:
        began = time.perf_counter()
        for _ in range(TRIES):
            writer.write(one)
            got, body = await _answer(reader)
            if got != BUSY:
                break
        each.append(time.perf_counter() - began)
        if got != status:
            raise Unexpected(got, body[:200])
        bodies.append(body)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, body
    at = head.find(b"content-length:")
    return status, await reader.readexactly(int(head[at + 15 : head.index(b"\r", at)])) if at >= 0 else b""
