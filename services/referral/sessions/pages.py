"""The pages of the sign-in: name and password, then a code; a passkey; a one-time link; an invite; leaving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any

import segno
from fastapi import Depends, Request, Response
from markupsafe import Markup
from starlette.responses import JSONResponse, RedirectResponse

from services.referral.people import handlers as people
from services.referral.sessions import factors, handlers, passkeys
from services.referral.sessions.desk import Desk
from services.referral.sessions.domain import TooManyTries
from services.referral.sessions.handlers import Opened
from spean.problem import Refusal
from spean.web import csrf, forms
from spean.web.cookies import YEAR_S, set_cookie
from spean.web.forms import Form, Incomplete
from spean.web.navigation import home_of
from spean.web.pages import SIGN_IN, At, Sent, at_anyone, local, page_router, sent_by_anyone
from spean.web.visitor import COOKIE
from spean.web.words import N_

# The second step, in the browser that made the first; and what a browser shows in which somebody has signed in before.
STEP, MARK = "__Host-spean-step", "__Host-spean-known"
# Where a quick exit leads: a page that anybody may be looking at.
ELSEWHERE = "https://www.wikipedia.org/"
ROOM = "referral/sessions"
# What is wrong with a new password, by the rule that refused it.
PASSWORD_SAID: Mapping[str, str] = {
    "too-short": N_("Use at least 12 characters. Four words that do not belong together are easy to keep in mind."),
    "too-long": N_("Use at most 256 characters."),
    "common": N_("Many people use this password, or it is easy to guess: choose another one."),
    "has-name": N_("Leave your sign-in name out of the password."),
}
NOT_THE_SAME = N_("The two passwords are not the same: write it twice.")
CODE_WRONG = N_("This code is not right. Take the one that the app shows now; each works once.")

router = page_router("sign-in pages")
Anyone = Annotated[At, Depends(at_anyone)]
AnyoneSent = Annotated[Sent, Depends(sent_by_anyone)]


@dataclass(slots=True)
class Said(At):
    """What a script of our own page sends as JSON: passkeys need one."""

    body: Mapping[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        value = self.body.get(name)
        return value if isinstance(value, str) else ""

    @property
    def credential(self) -> Mapping[str, Any]:
        """What the browser's passkey said. Raises Refusal `passkey`."""
        value = self.body.get("answer")
        if not isinstance(value, dict):
            raise Refusal("passkey")
        return value


async def said_by_anyone(request: Request) -> Said:
    """A dependency: JSON from a page of ours. Raises Refusal `cross-site`, `not-json`, `step-gone` for an old page."""
    if not csrf.same_origin(request):
        raise Refusal("cross-site")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal("not-json")
    body = await request.json()
    at = await at_anyone(request)
    said = Said(at.request, at.visitor, at.words, at.now, at.stranger, body if isinstance(body, dict) else {})
    if not said.came_from_here(Form({forms.TOKEN: [said.text("csrf")]})):
        raise Refusal("step-gone")
    return said


AnyoneSaid = Annotated[Said, Depends(said_by_anyone)]


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def typed(form: Form, name: str) -> str:
    """A password as it was typed, with its blanks."""
    return next(iter(form.values.get(name, ())), "")


def with_session(answer: Response, opened: Opened) -> Response:
    """The answer with the cookies of a session that has just begun."""
    set_cookie(answer, COOKIE, opened.cookie)
    set_cookie(answer, MARK, opened.mark, YEAR_S)
    set_cookie(answer, STEP, "", 0)
    return answer


async def begun(request: Request, opened: Opened, wanted: str) -> str:
    """Where to go on after signing in: a page of ours that was asked for, else where this person's work begins."""
    visitor = await handlers.find_visitor(desk_of(request).db)(opened.cookie)
    return local(wanted) or (home_of(visitor) if visitor else SIGN_IN)


def _from(request: Request) -> str:
    return request.client.host if request.client else ""


def with_passkeys(request: Request) -> dict[str, Any]:
    """For a template: do passkeys work at the address in use (`passkeys`), else at which (`passkey_origin`)?"""
    desk = desk_of(request)
    return {"passkeys": request.url.hostname == desk.rp, "passkey_origin": desk.origins[0], "blank": Form()}


@router.get("")
async def begin(at: Anyone) -> Response:
    """Where everybody begins (`HOME`): at their own work, or at the sign-in."""
    return at.see(home_of(at.visitor) if at.visitor else SIGN_IN)


# --- name and password ------------------------------------------------------------------------------------------------


@router.get("/sign-in")
async def sign_in(request: Request, at: Anyone) -> Response:
    """`again`: somebody who is signed in has to show once more that it is them."""
    wanted = local(request.query_params.get("next")) or ""
    if at.visitor is not None and "again" not in request.query_params:
        return at.see(wanted or home_of(at.visitor))
    return at.page(f"{ROOM}/sign-in.html", wanted=wanted, **with_passkeys(request))


@router.post("/sign-in")
async def send_password(request: Request, sent: AnyoneSent) -> Response:
    form, wanted = sent.form, local(sent.form.one("next")) or ""
    try:
        opener = await handlers.try_password(
            desk_of(request), form.one("name"), typed(form, "password"), address=_from(request),
            mark=request.cookies.get(MARK, ""),
        )  # fmt: skip
    except Refusal as refusal:
        return _once_more(sent, "sign-in", refusal, {"password": forms.said_of(refusal)}, wanted=wanted)
    answer = sent.see("/referral/pages/sign-in/code", **({"next": wanted} if wanted else {}))
    set_cookie(answer, STEP, opener)
    return answer


def _once_more(sent: Sent, page: str, refusal: Refusal, errors: Mapping[str, str], **shown: Any) -> Response:
    """The form again, and how long to wait first. Raises the refusal where the form cannot help."""
    if refusal.code not in {"sign-in-wrong", "too-many-tries", "password"}:
        raise refusal
    wait = refusal.wait if isinstance(refusal, TooManyTries) else None
    shown = {**with_passkeys(sent.request), **shown, "wait": wait}
    return sent.again(f"{ROOM}/{page}.html", Incomplete(errors), sent.form, **shown)


@router.get("/sign-in/code")
async def which_code(request: Request, at: Anyone) -> Response:
    if not request.cookies.get(STEP):
        return at.see(SIGN_IN)
    return at.page(f"{ROOM}/code.html", wanted=local(request.query_params.get("next")) or "")


@router.post("/sign-in/code")
async def send_code(request: Request, sent: AnyoneSent) -> Response:
    wanted, step = local(sent.form.one("next")) or "", request.cookies.get(STEP, "")
    try:
        opened = await handlers.try_code(
            desk_of(request), step, sent.form.one("code"), before=request.cookies.get(COOKIE, "")
        )
    except Refusal as refusal:
        said = CODE_WRONG if refusal.code == "sign-in-wrong" else forms.said_of(refusal)
        return _once_more(sent, "code", refusal, {"code": said}, wanted=wanted)
    return with_session(sent.see(await begun(request, opened, wanted)), opened)


# --- passkeys ---------------------------------------------------------------------------------------------------------


@router.post("/sign-in/passkey/options")
async def passkey_challenge(request: Request, said: AnyoneSaid) -> Response:
    del said
    return _options(await passkeys.challenge(desk_of(request)))


def _options(offered: tuple[str, passkeys.Options]) -> Response:
    step, options = offered
    return JSONResponse({"step": step, "options": options})


@router.post("/sign-in/passkey")
async def send_passkey(request: Request, said: AnyoneSaid) -> Response:
    before = request.cookies.get(COOKIE, "")
    opened = await passkeys.sign_in(desk_of(request), said.text("step"), said.credential, before=before)
    return with_session(JSONResponse({"to": await begun(request, opened, said.text("next"))}), opened)


# --- a one-time link ----------------------------------------------------------------------------------------------


@router.get("/link/{opener}")
async def one_time_link(request: Request, opener: str, at: Anyone) -> Response:
    """Looking uses nothing: who opens it signs in with the button."""
    if not await handlers.link_works(desk_of(request), people.SIGN_IN, opener):
        raise Refusal("link-gone")
    return at.page(f"{ROOM}/link.html", opener=opener)


@router.post("/link/{opener}")
async def use_one_time_link(request: Request, opener: str, sent: AnyoneSent) -> Response:
    opened = await handlers.redeem_link(desk_of(request), opener, before=request.cookies.get(COOKIE, ""))
    return with_session(sent.see(await begun(request, opened, "")), opened)


# --- an invite --------------------------------------------------------------------------------------------------------


def shown_as(at: At, authenticator: factors.Authenticator) -> dict[str, Any]:
    """For a template: the secret as text, as a link for an app on the same device, and as a QR code (SVG without a style, so
    that the policy of the page allows it)."""
    drawn = segno.make_qr(authenticator.uri, error="m").svg_inline(
        scale=5, border=4, light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
    label = at.words.text(N_("QR code for the authenticator app"))
    # Drawn here, of squares only.
    qr = Markup('<div class="qr" role="img" aria-label="{}">{}</div>').format(label, Markup(drawn))  # noqa: S704
    return {"secret": authenticator.secret, "uri": authenticator.uri, "qr": qr}


async def _invited(request: Request, at: At, opener: str) -> dict[str, Any]:
    """What the page of an invite shows."""
    person, found = await factors.look_at_invite(desk_of(request), opener)
    return {"person": person, "opener": opener, "authenticator": shown_as(at, found), **with_passkeys(request)}


@router.get("/set-up/{opener}")
async def set_up(request: Request, opener: str, at: Anyone) -> Response:
    return at.page(f"{ROOM}/set-up.html", **await _invited(request, at, opener))


@router.post("/set-up/{opener}")
async def send_set_up(request: Request, opener: str, sent: AnyoneSent) -> Response:
    try:
        expect_same_twice(sent.form)
        opened = await factors.set_up_password(
            desk_of(request), opener, typed(sent.form, "password"), sent.form.one("code"),
            before=request.cookies.get(COOKIE, ""),
        )  # fmt: skip
    except Incomplete as error:
        wrong = error
    except Refusal as refusal:
        wrong = wrong_factor(refusal)
    else:
        return with_session(sent.see(await begun(request, opened, "")), opened)
    return sent.again(f"{ROOM}/set-up.html", wrong, sent.form, **await _invited(request, sent, opener))


def expect_same_twice(form: Form) -> None:
    """A new password is written twice. Raises Incomplete, before anything is looked up."""
    if not typed(form, "password"):
        raise Incomplete({"password": forms.SAID["missing"]})
    if typed(form, "password") != typed(form, "password_again"):
        raise Incomplete({"password_again": NOT_THE_SAME})


def wrong_factor(refusal: Refusal) -> Incomplete:
    """A refusal of a password or a code, at its field. Raises the refusal where it is about neither."""
    said = {"password": PASSWORD_SAID.get(refusal.rule or "", ""), "sign-in-wrong": CODE_WRONG}
    return forms.at_field(refusal, {"password": "password", "sign-in-wrong": "code"}, said)


@router.post("/set-up/{opener}/passkey/options")
async def set_up_passkey_options(request: Request, opener: str, said: AnyoneSaid) -> Response:
    del said
    return _options(await passkeys.offer_to_invited(desk_of(request), opener))


@router.post("/set-up/{opener}/passkey")
async def set_up_passkey(request: Request, opener: str, said: AnyoneSaid) -> Response:
    before = request.cookies.get(COOKIE, "")
    opened = await passkeys.set_up(desk_of(request), opener, said.text("step"), said.credential, before=before)
    return with_session(JSONResponse({"to": await begun(request, opened, "")}), opened)


# --- lost -------------------------------------------------------------------------------------------------------------


@router.get("/lost")
async def lost(at: Anyone) -> Response:
    return at.page(f"{ROOM}/lost.html", asked="asked" in at.request.query_params)


@router.post("/lost")
async def send_lost(request: Request, sent: AnyoneSent) -> Response:
    """The same answer for every name."""
    if not sent.form.one("name"):
        return sent.again(f"{ROOM}/lost.html", Incomplete({"name": forms.SAID["missing"]}), sent.form, asked=False)
    await handlers.ask_recovery(desk_of(request), sent.form.one("name"), address=_from(request))
    return sent.see("/referral/pages/lost", asked="1")


# --- leaving ----------------------------------------------------------------------------------------------------------


async def ended(request: Request, answer: Response, wiped: str) -> Response:
    """The session of this browser ends, and the browser forgets what it keeps of us."""
    desk = desk_of(request)
    async with desk.db.transaction("session.end") as tx:
        await handlers.sign_out(tx, request.cookies.get(COOKIE, ""))
    set_cookie(answer, COOKIE, "", 0)
    answer.headers["Clear-Site-Data"] = wiped
    return answer


@router.get("/leave")
async def leave(request: Request) -> Response:
    """Quick exit, a plain link so that it works everywhere: out at once, and on to another site. A link on another site, or
    a browser that looks ahead, ends nothing."""
    elsewhere = RedirectResponse(ELSEWHERE, HTTPStatus.SEE_OTHER)
    ahead = "prefetch" in request.headers.get("sec-purpose", "")
    if ahead or request.headers.get("sec-fetch-site") == "cross-site":
        return elsewhere
    return await ended(request, elsewhere, '"cache", "cookies", "storage"')


@router.post("/sign-out")
async def sign_out(request: Request, sent: AnyoneSent) -> Response:
    return await ended(request, sent.see("/referral/pages/signed-out"), '"cache", "storage"')


@router.get("/signed-out")
async def signed_out(at: Anyone) -> Response:
    return at.page(f"{ROOM}/signed-out.html")
