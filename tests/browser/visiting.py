"""People at the pages: signed in for real, with or without a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
from playwright.async_api import Browser, Page

from schemas.rights import StaffRole
from services.cli.client import trusted
from services.cli.installation import Installation
from services.referral.sessions import handlers as sessions
from spean.web.cookies import LANGUAGE
from spean.web.visitor import COOKIE
from tests.builders import Organisation, World
from tests.integration import staff

_VOID = frozenset({"input", "meta", "link", "br", "hr", "img", "use"})


async def signed_in(made: Installation, organisation: Organisation, *roles: StaffRole, language: str = "en") -> str:
    """A new member of staff of the organisation with an open session. Returns the cookie's value."""
    person = await staff.hired(made, organisation.id, *roles, language=language)
    await staff.invited(made, person)
    desk = staff.desk_of(made)
    async with desk.db.transaction("test.sign_in") as tx:
        await tx.conn.execute("update person set status = 'active' where id = $1", person.id)
        return (await sessions.open_session(tx, desk, person.id, "password")).cookie


@dataclass
class Form:
    """A form as it stands on the page: what a browser would send with its first button."""

    action: str
    values: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)
    method: str = "post"

    def get(self, name: str) -> list[str]:
        return [value for one, value in self.values if one == name]


class Screen(HTMLParser):
    """A page as its reader has it."""

    def __init__(self, reply: httpx.Response) -> None:
        super().__init__()
        self.status, self.url, self.html = reply.status_code, str(reply.request.url), reply.text
        self.bytes = reply.num_bytes_downloaded
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.headings: list[str] = []
        self.ids: set[str] = set()
        self._open: list[str] = []
        self._words: list[str] = []
        self._within: dict[str, list[str]] = {}
        self._href = ""
        self._hrefs: list[str] = []
        self._select = self._area = ""
        self._button: tuple[str, str] = ("", "")
        if reply.headers.get("content-type", "").startswith("text/html"):
            self.feed(self.html)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._words)).strip()

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def links_to(self) -> list[str]:
        """Every address that is linked to, in order."""
        return self._hrefs

    def of(self, action: str) -> dict[str, str]:
        """What the form with this action would send, where each of its names stands once."""
        return dict(next(one for one in self.forms if one.action == action).values)

    def form(self, ending: str) -> Form:
        """The form that is sent to an address with this end."""
        return next(one for one in self.forms if one.action.partition("?")[0].endswith(ending))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag not in _VOID:
            self._open.append(tag)
        match tag:
            case "form":
                self.forms.append(Form(given.get("action", ""), method=given.get("method", "get")))
            case "a":
                self._href, self._within["a"] = given.get("href", ""), []
                self._hrefs.append(self._href)
            case "h1" | "h2":
                self._within[tag] = []
            case "button":
                self._button, self._within["button"] = (given.get("name", ""), given.get("value", "")), []
            case "select":
                self._select = given["name"]
            case "option" if self._select and "selected" in given:
                self.forms[-1].values.append((self._select, given.get("value", "")))
            case "textarea":
                self._area, self._within["textarea"] = given["name"], []
            case "input" if self.forms and given.get("name"):
                if given.get("type") not in {"radio", "checkbox"} or "checked" in given:
                    self.forms[-1].values.append((given["name"], given.get("value", "on")))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        words = self._within.pop(tag, [])
        said, typed = " ".join(" ".join(words).split()), "".join(words)
        match tag:
            case "a":
                self.links.setdefault(said, self._href)
            case "h1" | "h2":
                self.headings.append(said)
            case "button" if self.forms:
                self.forms[-1].buttons.append((*self._button, said))
            case "select":
                self._select = ""
            case "textarea":
                self.forms[-1].values.append((self._area, typed))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            return
        self._words.append(data)
        for words in self._within.values():
            words.append(data)


@dataclass
class Walker:
    """A browser without JavaScript, at the speed of a test: keeps cookies, follows redirects, fills in forms."""

    made: Installation
    client: httpx.AsyncClient
    cookies: dict[str, tuple[str, str]] = field(default_factory=dict)
    language: str = "en"
    clicks: int = 0

    async def get(self, path: str) -> Screen:
        return await self._follow("GET", urljoin(self.made.url, path), None)

    async def send(self, form: Form, button: tuple[str, str] = ("", ""), **answers: str | list[str]) -> Screen:
        """Fill in and send a form; answers replace what stood there."""
        self.clicks += 1
        kept = [(name, value) for name, value in form.values if name not in answers]
        given = [
            (name, one) for name, value in answers.items() for one in (value if isinstance(value, list) else [value])
        ]
        pressed = [button] if button[0] else []
        body = urlencode([*kept, *given, *pressed])
        address = urljoin(self.made.url, form.action)
        if form.method == "get":
            return await self._follow("GET", f"{address}?{body}", None)
        return await self._follow("POST", address, body)

    async def click(self, screen: Screen, link: str) -> Screen:
        self.clicks += 1
        return await self.get(screen.links[link])

    async def _follow(self, method: str, url: str, body: str | None) -> Screen:
        for _ in range(5):
            path = urlsplit(url).path
            sent = "; ".join(
                f"{name}={value}" for name, (value, under) in self.cookies.items() if path.startswith(under)
            )
            headers = {"Cookie": sent, "Accept-Language": self.language, "Sec-Fetch-Site": "same-origin"}
            if body is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            reply = await self.client.request(method, url, content=body, headers=headers)
            for cookie in reply.headers.get_list("set-cookie"):
                name, _, rest = cookie.partition("=")
                under = re.search(r"path=([^;]*)", cookie, re.I)
                self.cookies[name] = (rest.partition(";")[0], under.group(1) if under else "/")
            if reply.status_code != 303:
                return Screen(reply)
            method, url, body = "GET", urljoin(url, reply.headers["location"]), None
        raise AssertionError("redirected for ever")


@asynccontextmanager
async def walker(world: World, organisation: Organisation | None, *roles: StaffRole,
                 language: str = "en") -> AsyncIterator[Walker]:  # fmt: skip
    """Somebody of this organisation without a browser; None is a stranger."""
    async with httpx.AsyncClient(timeout=15, verify=trusted()) as client:
        found = Walker(world.made, client, language=language)
        if organisation is not None:
            found.cookies[COOKIE] = (await signed_in(world.made, organisation, *roles, language=language), "/")
        yield found


@asynccontextmanager
async def at_browser(
    browser: Browser, made: Installation, cookie: str | None, *, width: int = 360, language: str = "en",
    javascript: bool = True,
) -> AsyncIterator[Page]:  # fmt: skip
    """A page of a browser of its own, with this session; addresses are the installation's. A fault in a script, or what the
    page's policy forbids, fails the test."""
    context = await browser.new_context(
        base_url=made.url, viewport={"width": width, "height": 740}, locale=language, java_script_enabled=javascript,
        reduced_motion="reduce",
    )  # fmt: skip
    if cookie is not None:
        origin = made.url.replace("http:", "https:")
        # Chosen in this browser: it counts before the language that the person began with.
        await context.add_cookies(
            [
                {"name": name, "value": value, "url": origin, "secure": True, "httpOnly": True, "sameSite": "Lax"}
                for name, value in ((COOKIE, cookie), (LANGUAGE, language))
            ]
        )
    page = await context.new_page()
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if "Security Policy" in said.text else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert not faults, faults
