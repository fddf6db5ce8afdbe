"""Every page of the running services, from their own routes, and who may open it.

The list of pages is never written down here: `routes` reads it. `DOORS` says who may, by the beginning of an address, so a
page that is added where others are is covered by itself; one that is added elsewhere fails the tests until it has a door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import httpx
from fastapi.routing import iter_route_contexts

from schemas.rights import SCOPES_OF, StaffRole
from services.cli.installation import Installation
from services.referral.approvals.domain import OPENING

# What guards an address: a session that may do one of the scopes; any session; nothing; something else that is brought
# along (the packet's ticket and cookie).
Guarded = Literal["scopes", "session", "nothing", "ticket"]
# Whose an object is: one organisation's, one person's, the installation's, or whoever's holds its secret.
Whose = Literal["organisation", "person", "installation", "holder", "nobody"]
Kind = Literal["page", "part", "script", "stream", "table"]
FORM = "application/x-www-form-urlencoded"
SENT_FROM_HERE = {"Sec-Fetch-Site": "same-origin", "Accept-Language": "en", "Content-Type": FORM}
ROLES: Mapping[str, frozenset[str]] = {str(role): SCOPES_OF[role] for role in StaffRole}


@dataclass(frozen=True)
class Route:
    """`path` is the whole address with its parameters' names in braces."""

    service: str
    method: str
    path: str

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def routes(made: Installation) -> list[Route]:
    """Every address with /pages in it, of every service, once for each method."""
    return [
        Route(name, method, f"/{name}{one.path}")
        for name, service in made.services.items()
        for one in iter_route_contexts(service.app.routes)
        if "/pages" in (one.path or "")
        for method in sorted(one.methods or ())
        if method != "HEAD"
    ]


@dataclass(frozen=True)
class Door:
    """The doors of all addresses that begin with `at` (whole parts; `{}` is any part), where no longer beginning has its
    own; `alone`: of this one address. `who`: a role whose people come here. `objects`: which object of the town a parameter names, where it is not the
    one of the same name."""

    at: str
    who: str
    guarded: Guarded = "scopes"
    scopes: frozenset[str] = frozenset()
    whose: Whose = "organisation"
    kind: Kind = "page"
    objects: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False


def _door(at: str, who: str, *scopes: str, **more: Any) -> Door:
    return Door(at, who, scopes=frozenset(scopes), **more)


_SEND, _RECEIVE = ("sender", "intake:send"), ("receiver", "referral:receive")
_ADMIN: Mapping[str, Any] = {"whose": "installation"}
_ANYBODY: Mapping[str, Any] = {"guarded": "nothing", "whose": "holder"}
_OWN: Mapping[str, Any] = {"guarded": "session", "whose": "person"}
_PASSKEY: Mapping[str, Any] = {"guarded": "nothing", "kind": "script"}
_P = "/referral/pages"
DOORS = (
    *(Door(f"/{name}/pages/token", "sender", "session", kind="script") for name in ("intake", "referral", "notify")),
    _door("/intake/pages/entries", *_SEND),
    _door("/intake/pages/drafts", *_SEND, whose="person"),
    _door("/intake/pages/consent", *_SEND, whose="person", objects={"draft": "talk"}),
    _door("/intake/pages/handoffs", *_SEND),
    _door("/intake/pages/handoffs/{}/now", *_SEND, kind="part"),
    _door("/intake/pages/stop", *_SEND),
    _door("/intake/pages/waiting", *_SEND),
    _door("/intake/pages/screenings", *_SEND, objects={"screening": "session_of_screening", "entry": "screened"}),
    _door("/intake/pages/packets", "receiver", guarded="ticket"),
    _door("/intake/pages/entries/{}/erased", *_SEND, objects={"entry": "erased"}),
    _door("/intake/pages/holds", "own officer", "intake:rules"),
    _door("/intake/pages/audit", "own officer", "intake:rules"),
    _door("/intake/pages/rules", "administrator", "intake:rules", "referral:admin", whose="installation"),
    *(
        _door(f"/intake/pages/rules/{one}", "officer", "intake:rules", "referral:admin", **_ADMIN)
        for one in ("retention", "limits")
    ),
    _door("/intake/pages/rules/retention/{}", "officer", "intake:rules", objects={"rule": "retention"}, **_ADMIN),
    *(_door(f"/intake/pages/rules/{one}", "officer", "intake:rules", **_ADMIN) for one in ("usual", "limits/{}", "{}/{}/end")),
    _door(f"{_P}/directory", "sender", guarded="session", kind="script"),
    *(_door(f"{_P}/{one}", *_RECEIVE) for one in ("inbox", "arrivals", "offers", "places", "shift")),
    _door(f"{_P}/offers/{{}}/accept", *_RECEIVE, objects={"offer": "open"}),
    _door(f"{_P}/offers/{{}}/decline", *_RECEIVE, objects={"offer": "open"}),
    _door(f"{_P}/inbox/now", *_RECEIVE, kind="part"),
    _door(f"{_P}/live", *_RECEIVE, kind="stream"),
    _door(f"{_P}/referrals", "sender", "referral:send", objects={"referral": "handoff"}),
    _door(f"{_P}/escalations", "coordinator", "referral:coordinate", objects={"referral": "escalated"}),
    *(_door(f"{_P}/{one}", "administrator", "referral:admin", **_ADMIN) for one in ("admin", "people", "recoveries")),
    _door(f"{_P}/bases", "coordinator", "referral:coordinate"),
    _door(f"{_P}/bases/now", "coordinator", "referral:coordinate", kind="part"),
    _door(f"{_P}/approvals", "receiver", *sorted(OPENING)),
    *(_door(f"{_P}/{one}", "stranger", **_ANYBODY) for one in ("sign-in", "lost", "leave", "sign-out", "signed-out")),
    _door(_P, "stranger", **_ANYBODY, alone=True),
    _door(f"{_P}/sign-in/code", "half", **_ANYBODY),
    _door(f"{_P}/sign-in/passkey", "stranger", **_PASSKEY),
    _door(f"{_P}/link", "stranger", **_ANYBODY, objects={"opener": "link"}),
    _door(f"{_P}/set-up", "stranger", **_ANYBODY, objects={"opener": "invite"}),
    _door(f"{_P}/set-up/{{}}/passkey", "stranger", **_PASSKEY, objects={"opener": "invite"}),
    _door(f"{_P}/account", "sender", **_OWN),
    _door(f"{_P}/account/passkey", "sender", **_OWN, kind="script"),
    _door("/notify/pages/dashboard", "coordinator", "notify:watch"),
    _door("/notify/pages/dashboard/now", "coordinator", "notify:watch", kind="part"),
    _door("/notify/pages/dashboard.csv", "coordinator", "notify:watch", kind="table"),
    _door("/notify/pages/live", "coordinator", "notify:watch", kind="stream"),
    _door("/notify/pages/addresses", "administrator", "notify:admin", **_ADMIN),
    _door("/notify/pages/addresses/missing", "administrator", "notify:admin", whose="installation", kind="script"),
)  # fmt: skip
# A part of an address that is no object: each of its values is an address of its own.
VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "/intake/pages/drafts": {"step": ("where", "needs")},
    "/intake/pages/consent": {
        "step": ("language", "notice", "help", "share", "what", "why", "whom", "never", "until", "how", "guardian"),
    },
    "/intake/pages/entries": {
        "what": ("sharing", "service"), "kind": ("court_order", "emergency_profile", "best_interests_determination"),
    },
    "/intake/pages/rules/limits": {"what": ("crowd", "court_order")},
}  # fmt: skip


def door_of(route: Route) -> Door | None:
    """The door with the longest beginning of the route's address."""
    parts = route.path.split("/")
    fitting = [door for door in DOORS if (route.path == door.at if door.alone else _begins(parts, door.at.split("/")))]
    return max(fitting, key=lambda door: door.at.count("/"), default=None)


def _begins(parts: list[str], beginning: list[str]) -> bool:
    if len(beginning) > len(parts):
        return False
    return all(mine in ("{}", theirs) for mine, theirs in zip(beginning, parts, strict=False))


def addresses(route: Route, objects: Mapping[str, str]) -> list[str]:
    """The route with these objects, once for each value of a part that is no object. Raises KeyError for a parameter that
    names nothing known."""
    door = door_of(route)
    assert door is not None, route.id
    values = next((found for at, found in VALUES.items() if route.path.startswith(at)), {})
    filled = [route.path]
    for name in route.names:
        given = values.get(name) or (objects[door.objects.get(name, name)],)
        filled = [one.replace(f"{{{name}}}", value) for one in filled for value in given]
    return filled


# --- what is on a page --------------------------------------------------------------------------------------------


@dataclass
class Field:
    """`kind`: an input's type, `select` or `textarea`."""

    name: str
    kind: str
    value: str = ""
    on: bool = True
    choices: list[str] = field(default_factory=list)


@dataclass
class Form:
    action: str
    method: str
    fields: list[Field] = field(default_factory=list)

    @property
    def path(self) -> str:
        return urlsplit(self.action).path

    def filled(self, text: str | None = None) -> dict[str, list[str]]:
        """What a browser would send after somebody has answered everything: the first choice, one; `text` in each field
        for text, else something that fits most of them."""
        sent: dict[str, list[str]] = {}
        for one in self.fields:
            if one.kind in {"hidden", "submit"} or not one.name:
                if one.on and one.name and one.kind == "hidden":
                    sent.setdefault(one.name, []).append(one.value)
            elif one.kind in {"radio", "checkbox"}:
                if one.on or one.name not in sent:
                    sent[one.name] = [one.value]
            elif one.kind == "select":
                sent[one.name] = [one.value or next((choice for choice in one.choices if choice), "")]
            elif text is not None and one.kind in WRITTEN:
                sent[one.name] = [text]
            else:
                sent[one.name] = [one.value or _USUAL.get(one.kind, "made.up")]
        return sent

    @property
    def asked(self) -> str:
        """Where a form that only asks leads."""
        return f"{self.path}?{urlencode(self.filled(), doseq=True)}"

    @property
    def written(self) -> list[str]:
        """The names of the fields that take a text."""
        return [one.name for one in self.fields if one.kind in WRITTEN]


WRITTEN = frozenset({"text", "textarea", "search", "tel", "email", "password", "number", "url"})
_USUAL = {"number": "3", "date": "2031-02-03", "time": "10:00", "password": "seven grey herons at dusk"}
_LEADS = frozenset({"href", "src", "action", "xlink:href", "data", "poster", "ping", "background"})
_NEVER = frozenset({"style", "iframe", "object", "embed", "base", "frame", "frameset", "applet", "marquee"})


class Shown(HTMLParser):
    """A page, and what must not be on one. `wrong`: every piece of script or style in it, or a way to run one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.title = self.text = ""
        self.headings = 0
        self._inside: list[str] = []
        self._select: Field | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._look(tag, given)
        if tag in {"title", "textarea", "script"}:
            self._inside.append(tag)
        match tag:
            case "h1":
                self.headings += 1
            case "a":
                self.links.append(given.get("href", ""))
            case "form":
                self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
            case "input" if self.forms:
                kind = "number" if given.get("inputmode") == "numeric" else given.get("type", "text")
                on = kind not in {"radio", "checkbox"} or "checked" in given
                self.forms[-1].fields.append(Field(given.get("name", ""), kind, given.get("value", ""), on))
            case "button" if self.forms and given.get("name"):
                self.forms[-1].fields.append(Field(given["name"], "submit", given.get("value", "")))
            case "textarea" if self.forms:
                self.forms[-1].fields.append(Field(given.get("name", ""), "textarea"))
            case "select" if self.forms:
                self._select = Field(given.get("name", ""), "select")
                self.forms[-1].fields.append(self._select)
            case "option" if self._select is not None:
                self._select.choices.append(given.get("value", ""))
                if "selected" in given:
                    self._select.value = given.get("value", "")

    def _look(self, tag: str, given: Mapping[str, str]) -> None:
        if tag in _NEVER or (tag == "script" and not given.get("src", "").startswith("/static/")):
            self.wrong.append(f"<{tag}>")
        if tag == "meta" and "http-equiv" in given:
            self.wrong.append("<meta http-equiv>")
        for name, value in given.items():
            plain = "".join(value.split()).lower()
            if name.startswith("on") or name in {"style", "srcdoc", "formaction"}:
                self.wrong.append(f"{tag} {name}")
            if name in _LEADS and plain.startswith(("javascript:", "vbscript:", "data:")):
                self.wrong.append(f"{tag} {name}={value[:40]}")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()
        if tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        match self._inside[-1] if self._inside else "":
            case "title":
                self.title += data
            case "script":
                self.wrong.append("script with a text")
            case "textarea" if self.forms:
                self.forms[-1].fields[-1].value += data
            case _:
                self.text += data


# --- what every answer must be ------------------------------------------------------------------------------------

SAFE_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "base-uri": "'none'",
    "frame-ancestors": "'none'", "form-action": "'self'", "require-trusted-types-for": "'script'",
}  # fmt: skip


def page(answer: httpx.Response, *, part: bool = False) -> Shown:
    """A well-formed page with everything that keeps a browser safe; `part`: one that is put into a page. Raises
    AssertionError for anything else."""
    about = (answer.request.method, answer.request.url.path, answer.status_code)
    safe(answer)
    assert answer.status_code < 500, about
    assert answer.headers.get("content-type") == "text/html; charset=utf-8", (*about, answer.text[:200])
    assert "access-control-allow-origin" not in answer.headers, about
    policy = dict(one.strip().partition(" ")[::2] for one in answer.headers["content-security-policy"].split(";"))
    assert _POLICY.items() <= policy.items(), (*about, policy)
    assert "unsafe" not in str(policy), about
    shown = Shown(answer.text)
    assert shown.wrong == [], (*about, shown.wrong)
    assert part or (shown.headings == 1 and shown.title.strip()), (*about, shown.headings, shown.title)
    return shown


def safe(answer: httpx.Response) -> None:
    """The headers of every answer, and its cookies."""
    about = (answer.request.method, answer.request.url.path, answer.status_code)
    for name, value in SAFE_HEADERS.items():
        assert answer.headers.get_list(name) == [value], (*about, name)
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1, (*about, policy)
    assert "default-src 'none'" in policy[0], about
    assert "frame-ancestors 'none'" in policy[0], about
    for one in answer.headers.get_list("set-cookie"):
        parts = {part.strip().lower().partition("=")[0]: part.strip() for part in one.split(";")[1:]}
        assert {"secure", "httponly"} <= parts.keys(), (*about, one)
        assert parts["samesite"].lower() in {"samesite=lax", "samesite=strict"}, (*about, one)
        assert "domain" not in parts, (*about, one)
        # A packet's cookie is sent to its own addresses alone, which a `__Host-` cookie cannot be.
        where = f"path=/intake/pages/packets/{answer.request.url.path.split('/')[-1]}"
        packet = one.startswith("__Secure-spean-packet=") and parts["path"].lower() == where
        assert packet or (one.startswith("__Host-spean") and parts["path"].lower() == "path=/"), (*about, one)
