"""A plain visitor without a browser, one request at a time: sends forms as they stand or changed, and sees what a proxy would
see (who walks from page to page is a `visiting.Walker`)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from services.cli.client import trusted
from services.cli.installation import Installation
from spean.web.visitor import COOKIE
from tests.browser.visiting import Screen


@dataclass
class Visit:
    client: httpx.AsyncClient

    async def get(self, path: str, expect: int = 200) -> Screen:
        answer = await self.client.get(path)
        assert answer.status_code == expect, (path, answer.status_code, plain(answer.text)[:400])
        return Screen(answer)

    async def send(self, path: str, fields: dict[str, str]) -> httpx.Response:
        return await self.client.post(path, data=fields)


@asynccontextmanager
async def at_desk(made: Installation, cookie: str | None, language: str = "en") -> AsyncIterator[Visit]:
    headers = {"Accept-Language": language, "Sec-Fetch-Site": "same-origin"}
    if cookie:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    async with httpx.AsyncClient(base_url=made.url, headers=headers, verify=trusted(), timeout=15) as client:
        yield Visit(client)


def plain(html: str) -> str:
    """The text of a page without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()
