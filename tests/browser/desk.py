"""A plain visitor without a browser: reads pages, sends their forms as they stand, and sees what a proxy would see."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx

from services.cli.installation import Installation
from spean.web.visitor import COOKIE


class Forms(HTMLParser):
    """The forms of a page with what they would send as they stand, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.actions: list[str] = []
        self.text = ""
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = True
            self.actions.append(given.get("action", ""))
            self.forms.append({})
        elif tag == "input" and self._inside and ("checked" in given or given.get("type") not in {"radio", "checkbox"}):
            self.forms[-1][given.get("name", "")] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, action: str) -> dict[str, str]:
        """What the form with this action would send."""
        return dict(self.forms[self.actions.index(action)])


@dataclass
class Visit:
    client: httpx.AsyncClient

    async def get(self, path: str, expect: int = 200) -> Forms:
        answer = await self.client.get(path)
        assert answer.status_code == expect, (path, answer.status_code, plain(answer.text)[:400])
        return Forms(answer.text)

    async def send(self, path: str, fields: dict[str, str]) -> httpx.Response:
        return await self.client.post(path, data=fields)


@asynccontextmanager
async def at_desk(made: Installation, cookie: str | None, language: str = "en") -> AsyncIterator[Visit]:
    headers = {"Accept-Language": language, "Sec-Fetch-Site": "same-origin"}
    if cookie:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    async with httpx.AsyncClient(base_url=made.url, headers=headers) as client:
        yield Visit(client)


def plain(html: str) -> str:
    """The text of a page without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()
