"""How a page is made. Every page of every service goes through here.

A room's `pages.py` has a router from `page_router`, and one function per address:

    @pages.get("/inbox")
    async def inbox(request: Request, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
        return at.page("referral/referrals/inbox.html", offers=…)

    @pages.post("/offers/{offer}/accept")
    async def accept(request: Request, offer: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
        await api.accept(request, offer, sent.command())
        return sent.see("/referral/pages/inbox", done="accepted")

A page does what the API does, by calling the same function with a `Command` of its own: the form carries the
Idempotency-Key (a second click does nothing more) and the version that was read. A refusal becomes a page that says
what to do; a form whose session has ended is shown again, to be sent once more, with nothing lost.
Templates lie in `templates/` beside the room's files and extend `web/base.html`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

import brotli
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import JSONResponse, RedirectResponse

from spean.auth import Caller
from spean.db import DatabaseProblem, Tx
from spean.gated import GatedResponse
from spean.http import Command, Door, Reply
from spean.problem import REFUSALS, Refusal
from spean.web import csrf, forms, templating
from spean.web.cookies import LANGUAGE, keep_language, set_cookie
from spean.web.forms import Form, Incomplete
from spean.web.navigation import DONE, home_of
from spean.web.refusals import PROBLEMS
from spean.web.static import takes_brotli
from spean.web.visitor import COOKIE, FindVisitor, Visitor
from spean.web.words import Words, catalogue, chosen, languages

# Names a browser that has not signed in, for the token of its forms.
STRANGER = "__Host-spean-form"
SIGN_IN = "/referral/pages/sign-in"
# Leads everybody to where they begin.
HOME = "/referral/pages"
# Where a visitor may be led after signing in: pages of this installation only.
_LOCAL = re.compile(r"/pages/about|/(?:intake|referral|notify)/pages(?:/[A-Za-z0-9/._-]*)?(?:\?[A-Za-z0-9=&._%-]*)?")
_VERSION = re.compile(r"[0-9]{1,9}")
_KEY = re.compile(r"[A-Za-z0-9_-]{20,100}")
_BROTLI_QUALITY = 5
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx spean-worker"
)


def local(path: str | None) -> str | None:
    """The path where it is a page of ours; None for anything else (an open redirect is refused here)."""
    return path if path is not None and ".." not in path and _LOCAL.fullmatch(path) else None


@dataclass(slots=True)
class At:
    """A visitor at a page. `visitor` is None only where `at_anyone` let a stranger in."""

    request: Request
    visitor: Visitor | None
    words: Words
    now: datetime
    stranger: str = ""

    @property
    def who(self) -> Visitor:
        """Raises Refusal `no-session` for a stranger."""
        if self.visitor is None:
            raise Refusal("no-session")
        return self.visitor

    @property
    def caller(self) -> Caller:
        return self.who.caller()

    @property
    def door(self) -> Door:
        door: Door = self.request.app.state.door
        return door

    def token(self) -> str:
        """For a form of this page."""
        return csrf.token(self.door.secret, self._bound_to())

    def _bound_to(self) -> str:
        return str(self.visitor.session) if self.visitor is not None else self.stranger

    def came_from_here(self, form: Form) -> bool:
        bound_to, given = self._bound_to(), form.one(forms.TOKEN)
        return any(csrf.fits(secret, bound_to, given) for secret in self.door.secrets())

    def page(self, template: str, *, status: int = 200, forms_to: str = "", **shown: Any) -> Response:
        """The template as a page; `shown` is what it shows, beside what every page has. `forms_to`: another origin, a
        holder's, to which a form of this page is sent."""
        return self.answer(self.html(template, **shown), status=status, forms_to=forms_to)

    def html(self, template: str, **shown: Any) -> str:
        return templating.render(template, {**self._everywhere(), **shown})

    def answer(self, text: str, *, status: int = 200, forms_to: str = "") -> Response:
        """HTML that is rendered already."""
        html = text.encode()
        policy = CSP.replace("form-action 'self'", f"form-action 'self' {forms_to}") if forms_to else CSP
        headers = {"Content-Security-Policy": policy, "Vary": "Accept-Encoding, Cookie"}
        if takes_brotli(self.request):
            headers["Content-Encoding"], html = "br", brotli.compress(html, quality=_BROTLI_QUALITY)
        answer = Response(html, status, headers, "text/html; charset=utf-8")
        if self.visitor is None and self.request.cookies.get(STRANGER) != self.stranger:
            set_cookie(answer, STRANGER, self.stranger)
        return answer

    def _everywhere(self) -> dict[str, Any]:
        done = self.request.query_params.get("done", "")
        return {
            "at": self, "words": self.words, "visitor": self.visitor, "now": self.now, "form": Form(), "errors": {},
            "done": DONE.get(done), "path": self.request.url.path,
            "here": (local(self.request.url.path) if self.request.method == "GET" else None) or "/",
            "new_key": lambda: secrets.token_urlsafe(24),
        }  # fmt: skip

    def gated(self, name: str, work: Callable[[Tx], Awaitable[Reply]], template: str, **shown: Any) -> Response:
        """A page of what the gate guards: decided, composed and sent in one transaction of this name, as the visitor's
        organisation. The template gets the answer as `body` and its `version`."""

        def render(reply: Reply) -> Response:
            return self.page(template, body=reply.body, version=reply.version, **shown)

        return GatedResponse(self.door.db, name, work, self.who.org, render=render)

    def again(self, template: str, error: Incomplete, form: Form, **shown: Any) -> Response:
        """The page of a form once more, with what was typed and what to do about it."""
        return self.page(template, status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form, errors=error.errors, **shown)

    def see(self, path: str, **query: str | Sequence[str]) -> Response:
        """Go on to another page (a GET), so that loading again does nothing twice."""
        return RedirectResponse(path + (f"?{urlencode(query, doseq=True)}" if query else ""), HTTPStatus.SEE_OTHER)


@dataclass(slots=True)
class Sent(At):
    """A visitor who sends a form, which has been found to come from a page of ours."""

    form: Form = field(default_factory=Form)

    def command(self, *, part: str = "") -> Command:
        """What the API's functions take: once per form, however often it is sent. `part` tells apart the commands of one
        form. Raises Refusal `invalid`."""
        key = self.form.one(forms.KEY)
        if not _KEY.fullmatch(key):
            raise Refusal("invalid")
        said = urlencode(self.form.kept()).encode()
        fingerprints = self.door.fingerprints(f"{self.request.url.path}\n{part}", said)
        return Command(self.door.db, self.caller, f"form:{key}:{part}", fingerprints, self.version)

    @property
    def version(self) -> int | None:
        """The version that was read, where the form says one. Raises Refusal `invalid`."""
        version = self.form.one(forms.VERSION)
        if version and not _VERSION.fullmatch(version):
            raise Refusal("invalid")
        return int(version) if version else None


def id_in(made: Response) -> UUID:
    """The id that a command has answered with."""
    return UUID(json.loads(bytes(made.body))["id"])


def page_router(tag: str) -> APIRouter:
    """A router for the pages of a room."""
    return APIRouter(prefix="/pages", tags=[tag], include_in_schema=False)


def at_with(*scopes: str, stopping: bool = False) -> Callable[..., Awaitable[At]]:
    """A dependency: a visitor who may do one of `scopes` (none named: any who is signed in). A stranger is led to the
    sign-in. `stopping`: for a page that leads to nothing but stopping, which also a suspended organisation may do, and
    somebody whose session cannot be checked just now."""

    async def at(request: Request) -> At:
        found = await _at(request, stopping=stopping)
        if found.visitor is None:
            raise Refusal("no-session")
        await _may(found, scopes, stopping=stopping)
        return found

    return at


async def at_anyone(request: Request) -> At:
    """A dependency: for the pages of the sign-in."""
    return await _at(request)


def sent_with(*scopes: str, stopping: bool = False) -> Callable[..., Awaitable[Sent]]:
    """A dependency for a form: same visitor, same origin. `stopping`: as in `at_with`."""

    async def sent(request: Request) -> Sent:
        found = await _sent(request, stopping=stopping)
        if found.visitor is None or not found.came_from_here(found.form):
            raise Refusal("stale-form")
        await _may(found, scopes, stopping=stopping)
        return found

    return sent


async def sent_by_anyone(request: Request) -> Sent:
    """A dependency for the forms of the sign-in."""
    found = await _sent(request)
    if not found.came_from_here(found.form):
        raise Refusal("stale-form")
    return found


async def _at(request: Request, *, stopping: bool = False) -> At:
    """`stopping`: where the issuer of sessions does not answer, whoever it vouched for lately may still stop something. A
    page that looks by itself is no use of the session: nobody may be there. Raises Refusal `busy`."""
    state = request.app.state
    visitors: FindVisitor = getattr(state, "watchers", state.visitors) if _by_itself(request) else state.visitors
    value = request.cookies.get(COOKIE)
    try:
        visitor = await visitors(value) if value else None
    except Refusal:
        remembered: FindVisitor | None = getattr(request.app.state, "remembered", None)
        if not stopping or remembered is None or value is None:
            raise
        visitor = await remembered(value)
    found = At(request, visitor, words_for(request, visitor), datetime.now(UTC), _stranger(request))
    request.state.at = found
    return found


def _by_itself(request: Request) -> bool:
    """Does a part of a page ask, which nobody has pressed anything for?"""
    return request.method == "GET" and request.headers.get("hx-request") == "true"


async def _sent(request: Request, *, stopping: bool = False) -> Sent:
    """Raises Refusal `cross-site`, `unreadable`, `busy`."""
    if not csrf.same_origin(request):
        raise Refusal("cross-site")
    at = await _at(request, stopping=stopping)
    form = forms.parsed(await request.body())
    request.state.form = form
    return Sent(at.request, at.visitor, at.words, at.now, at.stranger, form)


async def _may(at: At, scopes: tuple[str, ...], *, stopping: bool = False) -> None:
    """Raises Refusal `scope`, `suspended`."""
    if scopes and not at.who.scopes & set(scopes):
        raise Refusal("scope")
    if not stopping and (at.who.only_stops or await at.door.suspended(at.who.org)):
        raise Refusal("suspended")


def _stranger(request: Request) -> str:
    value = request.cookies.get(STRANGER, "")
    return value if _KEY.fullmatch(value) else secrets.token_urlsafe(24)


def words_for(request: Request, visitor: Visitor | None) -> Words:
    language = chosen(
        request.cookies.get(LANGUAGE), visitor.language if visitor else None,
        accepted=request.headers.get("accept-language", ""),
    )  # fmt: skip
    return Words(language, visitor.facts.country if visitor else "KH")


# --- what goes wrong ------------------------------------------------------------------------------------------------


def _by_script(request: Request) -> bool:
    """Does a script of ours ask, which sends what waited while the line was down?"""
    return request.headers.get("accept") == "application/json"


async def say_problem(request: Request, error: Refusal) -> Response:
    """A refusal as a page: what it means, and where to go on. Nothing of what was sent is in it, but for a form of the
    same browser whose session has ended, which may be sent again."""
    if _by_itself(request) and REFUSALS[error.code][0] < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _whole_page(request, REFUSALS[error.code][0])
    if error.code == "no-session" and request.method in {"GET", "HEAD"} and not _by_script(request):
        back = local(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(SIGN_IN + (f"?next={quote(back, safe='')}" if back else ""), HTTPStatus.SEE_OTHER)
    try:
        at: At = getattr(request.state, "at", None) or await _at(request)
    except (Refusal, DatabaseProblem):
        return await say_outside(request, error)
    return _said(at, error)


async def say_outside(request: Request, error: Refusal) -> Response:
    """The same where nobody can be asked whose browser it is: the request was refused before it was read, or its address is
    no service's."""
    return _said(At(request, None, words_for(request, None), datetime.now(UTC), _stranger(request)), error)


def _said(at: At, error: Refusal) -> Response:
    request = at.request
    status, why = REFUSALS[error.code]
    detail = PROBLEMS.get(error.code, why)
    if _by_script(request):
        return JSONResponse({"code": error.code, "detail": at.words.text(detail)}, status)
    if error.code == "stale-form":
        kept: Form = request.state.form
        return at.page("web/again.html", status=status, kept=kept, address=request.url.path)
    home = home_of(at.visitor) if at.visitor else SIGN_IN
    shown: Mapping[str, Any] = {"code": error.code, "detail": detail, "home": home, "here": home}
    return at.page("web/problem.html", status=status, **shown)


def _whole_page(request: Request, status: int) -> Response:
    """To a part of a page that fetches itself: load the page itself, which says what is the matter."""
    page = local(urlsplit(request.headers.get("hx-current-url", "")).path)
    return Response(status_code=status, headers={"HX-Redirect": page or HOME})


def with_pages(app: FastAPI, *routers: APIRouter) -> None:
    """Lets an application have pages. Who builds it puts `FindVisitor` into `app.state.visitors`."""
    app.state.say_problem = say_problem
    app.add_route("/pages/token", _token, include_in_schema=False)
    for router in routers:
        app.include_router(router)


async def _token(request: Request) -> Response:
    """For what waited in the browser while the line was down: a token for its forms, and whose they have to be."""
    at = await _at(request)
    return JSONResponse({"csrf": at.token(), "person": str(at.who.person)})


async def offline(request: Request) -> Response:
    """The one page that a browser keeps: that there is no line, and what waits to be sent."""
    return _anybodys(request, "web/offline.html")


async def about(request: Request) -> Response:
    """What this is, and which translations nobody has confirmed yet."""
    found = [
        (code, name, len(catalogue(code).texts), len(catalogue(code).unreviewed)) for code, name in languages().items()
    ]
    return _anybodys(request, "web/about.html", translations=found)


def _anybodys(request: Request, template: str, **shown: Any) -> Response:
    """A page that is the same for everybody who reads its language: it shows nobody's data, and asks nobody who reads it."""
    everywhere = {
        "words": words_for(request, None),
        "path": "/",
        "here": request.url.path,
        "visitor": None,
        "done": None,
    }
    html = templating.render(template, {**everywhere, **shown})
    return Response(html, headers={"Content-Security-Policy": CSP}, media_type="text/html; charset=utf-8")


async def choose_language(request: Request) -> Response:
    """/pages/language?to=km&next=…: kept in a cookie of this browser; people may look on before they sign in."""
    answer = RedirectResponse(local(request.query_params.get("next")) or "/", HTTPStatus.SEE_OTHER)
    keep_language(answer, chosen(request.query_params.get("to")))
    return answer
