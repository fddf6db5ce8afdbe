"""The pages of one's own account: sessions, password, authenticator, passkeys, language."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response
from starlette.responses import JSONResponse

from services.referral.people import handlers as people
from services.referral.people.domain import By
from services.referral.sessions import factors, handlers, passkeys, store
from services.referral.sessions.pages import (
    AnyoneSaid,
    desk_of,
    ended,
    expect_same_twice,
    shown_as,
    typed,
    with_passkeys,
    with_session,
    wrong_factor,
)
from spean.problem import Refusal
from spean.web.cookies import keep_language
from spean.web.forms import Incomplete
from spean.web.pages import SIGN_IN, At, Sent, at_with, page_router, sent_with
from spean.web.words import chosen

ACCOUNT = "/referral/pages/account"
ROOM = "referral/sessions"
router = page_router("account pages")
Own = Annotated[At, Depends(at_with())]
OwnSent = Annotated[Sent, Depends(sent_with())]


@router.get("/account")
async def account(request: Request, at: Own) -> Response:
    """How one signs in, and where one is signed in."""
    who, db = at.who, desk_of(request).db
    async with db.transaction("account.look") as tx:
        sessions = await store.sessions(tx, who.person)
        keys = await store.passkeys(tx, who.person)
        has_password = await store.password_of(tx, who.person) is not None
        has_authenticator = await store.authenticator_of(tx, who.person) is not None
    mine = next((one for one in sessions if one.id == who.session), None)
    return at.page(
        f"{ROOM}/account.html", sessions=sessions, keys=keys, has_password=has_password,
        has_authenticator=has_authenticator, fresh=mine is not None and at.now - mine.opened_at < factors.FRESH_FOR,
        **with_passkeys(request),
    )  # fmt: skip


def again_first(at: At, refusal: Refusal, back: str) -> Response:
    """To the sign-in and back, for who has not signed in lately. Raises the refusal where it is another."""
    if refusal.code != "sign-in-again":
        raise refusal
    return at.see(SIGN_IN, again="1", next=back)


@router.post("/account/language")
async def choose_language(request: Request, sent: OwnSent) -> Response:
    who, language = sent.who, chosen(sent.form.one("language"))
    async with desk_of(request).db.transaction("account.language") as tx:
        await people.change(tx, By(who.person, who.org), who.person, None, language=language)
    answer = sent.see(ACCOUNT, done="saved")
    keep_language(answer, language)
    return answer


@router.post("/account/sessions/{session}/end")
async def end_session(request: Request, session: UUID, sent: OwnSent) -> Response:
    async with desk_of(request).db.transaction("session.end-one") as tx:
        await handlers.end_one(tx, sent.who, session)
    return sent.see(ACCOUNT, done="session-ended")


@router.post("/account/sign-out-everywhere")
async def sign_out_everywhere(request: Request, sent: OwnSent) -> Response:
    async with desk_of(request).db.transaction("session.end-all") as tx:
        await handlers.sign_out_everywhere(tx, sent.who)
    return await ended(request, sent.see("/referral/pages/signed-out"), '"cache", "storage"')


# --- password ---------------------------------------------------------------------------------------------------------


@router.get("/account/password")
async def new_password(request: Request, at: Own) -> Response:
    async with desk_of(request).db.transaction("account.look") as tx:
        try:
            await factors.expect_fresh(tx, at.who)
        except Refusal as refusal:
            return again_first(at, refusal, f"{ACCOUNT}/password")
        has_authenticator = await store.authenticator_of(tx, at.who.person) is not None
    if not has_authenticator:
        return at.see(ACCOUNT)
    return at.page(f"{ROOM}/password.html", **with_passkeys(request))


@router.post("/account/password")
async def change_password(request: Request, sent: OwnSent) -> Response:
    try:
        expect_same_twice(sent.form)
        opened = await factors.change_password(desk_of(request), sent.who, typed(sent.form, "password"))
    except Incomplete as error:
        wrong = error
    except Refusal as refusal:
        if refusal.code == "sign-in-again":
            return again_first(sent, refusal, f"{ACCOUNT}/password")
        wrong = wrong_factor(refusal)
    else:
        return with_session(sent.see(ACCOUNT, done="password"), opened)
    return sent.again(f"{ROOM}/password.html", wrong, sent.form, **with_passkeys(request))


# --- authenticator ----------------------------------------------------------------------------------------------------


@router.post("/account/authenticator/new")
async def new_authenticator(request: Request, sent: OwnSent) -> Response:
    """A new secret each time; the old authenticator works until the new one's code was shown."""
    try:
        step, authenticator = await factors.begin_authenticator(desk_of(request), sent.who)
    except Refusal as refusal:
        return again_first(sent, refusal, ACCOUNT)
    return sent.page(f"{ROOM}/authenticator.html", step=step, authenticator=shown_as(sent, authenticator))


@router.post("/account/authenticator")
async def change_authenticator(request: Request, sent: OwnSent) -> Response:
    desk, step = desk_of(request), sent.form.one("step")
    try:
        opened = await factors.change_authenticator(desk, sent.who, step, sent.form.one("code"))
    except Refusal as refusal:
        if refusal.code == "sign-in-again":
            return again_first(sent, refusal, ACCOUNT)
        wrong = wrong_factor(refusal)
        authenticator = await factors.look_at_authenticator(desk, sent.who, step)
        shown = shown_as(sent, authenticator)
        return sent.again(f"{ROOM}/authenticator.html", wrong, sent.form, step=step, authenticator=shown)
    return with_session(sent.see(ACCOUNT, done="authenticator"), opened)


# --- passkeys ---------------------------------------------------------------------------------------------------------


@router.post("/account/passkey/options")
async def passkey_options(request: Request, said: AnyoneSaid) -> Response:
    step, options = await passkeys.offer(desk_of(request), said.who)
    return JSONResponse({"step": step, "options": options})


@router.post("/account/passkey")
async def add_passkey(request: Request, said: AnyoneSaid) -> Response:
    opened = await passkeys.add(desk_of(request), said.who, said.text("step"), said.credential)
    return with_session(JSONResponse({"to": f"{ACCOUNT}?done=passkey-added"}), opened)


@router.post("/account/passkeys/{passkey}/remove")
async def remove_passkey(request: Request, passkey: UUID, sent: OwnSent) -> Response:
    try:
        opened = await factors.remove_passkey(desk_of(request), sent.who, passkey)
    except Refusal as refusal:
        return again_first(sent, refusal, ACCOUNT)
    return with_session(sent.see(ACCOUNT, done="passkey-removed"), opened)
