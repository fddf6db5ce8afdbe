"""The administrator's pages of people: who there is, somebody new, what they do, their history; and those who lost what they
sign in with."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import Field

from schemas.rights import StaffRole
from services.referral.approvals import handlers as approvals
from services.referral.approvals import store as approvals_store
from services.referral.approvals.domain import Who
from services.referral.partners import store as partners
from services.referral.partners.api import SCOPE, IdView
from services.referral.people import handlers, store
from services.referral.people.domain import SECOND_WITHIN, By, Person, Status, What
from services.referral.sessions.pages import desk_of
from spean.crypto import opener_from
from spean.db import Tx
from spean.http import Body, Reply
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, id_in, page_router, sent_with
from spean.web.words import N_, languages

PEOPLE, RECOVERIES = "/referral/pages/people", "/referral/pages/recoveries"
ROOM = "referral/people"
_ORGANISATIONS_MOST = 10_000
ROLES: Mapping[StaffRole, str] = {
    StaffRole.SENDER: N_("Meets people and hands them on"),
    StaffRole.RECEIVER: N_("Answers requests and keeps the places"),
    StaffRole.COORDINATOR: N_("Coordinates: acts where a person is needed"),
    StaffRole.ADMINISTRATOR: N_("Administers the whole network"),
    StaffRole.OFFICER: N_("Reviews who may be told what: data-protection officer"),
}
STATUS: Mapping[Status, str] = {
    Status.ACTIVE: N_("Works here"),
    Status.LOCKED: N_("Locked for now"),
    Status.LEFT: N_("Has left for good"),
}
SAID: Mapping[What, str] = {
    What.REGISTERED: N_("registered"),
    What.CHANGED: N_("changed"),
    What.INVITED: N_("a link to set up was made"),
    What.SET_UP: N_("set up how to sign in"),
    What.SIGNED_IN: N_("signed in"),
    What.SIGNED_OUT: N_("signed out"),
    What.SIGN_IN_FAILED: N_("wrong tries to sign in"),
    What.PASSWORD_CHANGED: N_("changed the password"),
    What.AUTHENTICATOR_CHANGED: N_("changed the authenticator app"),
    What.PASSKEY_ADDED: N_("added a passkey"),
    What.PASSKEY_REMOVED: N_("removed a passkey"),
    What.LINK_MADE: N_("a one-time link was made"),
    What.RECOVERY_ASKED: N_("asked for a new start"),
    What.RECOVERY_APPROVED: N_("a new start was approved"),
    What.RECOVERY_REFUSED: N_("a new start was refused"),
    What.FACTORS_REMOVED: N_("what they signed in with works no longer"),
    What.ROLES_ASKED: N_("is to do more: somebody else has to agree"),
    What.ROLES_APPROVED: N_("somebody else has agreed"),
    What.ROLES_REFUSED: N_("what they were to do more was refused"),
    What.ROLES_LAPSED: N_("nobody has agreed in time"),
    What.RESTORED: N_("shut after a restore from a backup: see what they may do, let them in again, and invite them"),
}
# The field that a refusal is about.
_ABOUT = {"name-taken": "sign_in_name", "administrator-elsewhere": "roles", "last-administrator": "roles"}
router = page_router("people pages")
Administrator = Annotated[At, Depends(at_with(SCOPE))]
AdministratorSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class PersonForm(Body):
    organisation: UUID
    name: Annotated[str, Field(min_length=1, max_length=100)]
    sign_in_name: Annotated[str, Field(min_length=3, max_length=200)]
    language: str
    roles: Annotated[frozenset[StaffRole], Field(min_length=1)]


class ChangeForm(Body):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    roles: Annotated[frozenset[StaffRole], Field(min_length=1)]
    status: Status


def _wrong(refusal: Refusal) -> Incomplete:
    """The field that a refusal is about. Raises the refusal where it is about none."""
    if refusal.code == "invalid" and refusal.errors:
        return Incomplete({str(refusal.errors[0]["at"]): forms.OTHERWISE})
    return forms.at_field(refusal, _ABOUT)


def _by(at: At) -> By:
    return By(at.who.person, at.who.org)


@router.get("/people")
async def list_people(
    request: Request, at: Administrator, organisation: UUID | None = None, after: UUID | None = None
) -> Response:
    """Everybody, by organisation, or the people of one."""
    return await _list(request, at, organisation, "", after)


@router.post("/people")
async def search(request: Request, sent: AdministratorSent) -> Response:
    """What is typed is somebody's name, so it stays out of the address."""
    return await _list(request, sent, None, sent.form.one("q")[: lists.TYPED_MOST], None)


async def _list(request: Request, at: At, organisation: UUID | None, q: str, after: UUID | None) -> Response:
    """Found by the names of organisation and person, and the one to sign in with. Raises Refusal `not-found`."""
    async with desk_of(request).db.transaction("people.list") as tx:
        employer = None if organisation is None else await partners.organisation(tx, organisation)
        part = lists.part(await store.names(tx, organisation), q=q, after=after)
        found, recoveries = await store.listed(tx, part.ids), await store.waiting(tx)
    return at.page(
        f"{ROOM}/list.html",
        part=part,
        found=found,
        employer=employer,
        recoveries=recoveries,
        roles=ROLES,
        statuses=STATUS,
    )


# --- somebody new -----------------------------------------------------------------------------------------------------


async def _new_page(request: Request, form: Form, chosen: str = "") -> Mapping[str, Any]:
    async with desk_of(request).db.transaction("organisations.list") as tx:
        active = await partners.active(tx, _ORGANISATIONS_MOST)
    choices = lists.choices([(one.id, one.name) for one in active], form, "organisation", chosen=[chosen])
    return {"choices": choices, "chosen": chosen, "roles": ROLES, "spoken": languages()}


@router.get("/people/new")
async def somebody_new(request: Request, at: Administrator, organisation: str = "") -> Response:
    """`organisation`: where they will work, where somebody comes from its page."""
    return at.page(f"{ROOM}/new.html", **await _new_page(request, Form(), organisation))


@router.post("/people/new")
async def register(request: Request, sent: AdministratorSent) -> Response:
    """A second click leads to the same person."""
    form = sent.form
    if lists.narrows(form, "organisation"):
        return sent.page(f"{ROOM}/new.html", form=form, **await _new_page(request, form))
    answers = {name: form.some(name) for name in ("organisation", "name", "sign_in_name", "language")}
    try:
        body = forms.read(PersonForm, {**answers, "roles": form.all("roles")})

        async def work(tx: Tx) -> Reply:
            person = await approvals.register_person(
                tx, Who.of(sent.caller), body.organisation, body.name, body.sign_in_name, body.language, body.roles
            )
            return Reply(IdView(id=person.id), status=201)

        made = await sent.command().run_as_service("person.register", work)
    except Incomplete as error:
        return sent.again(f"{ROOM}/new.html", error, form, **await _new_page(request, form))
    except Refusal as refusal:
        return sent.again(f"{ROOM}/new.html", _wrong(refusal), form, **await _new_page(request, form))
    return sent.see(f"{PEOPLE}/{id_in(made)}", done="saved")


# --- one person -------------------------------------------------------------------------------------------------------


async def _shown(request: Request, id_: UUID) -> Mapping[str, Any]:
    """Raises Refusal `not-found`."""
    async with desk_of(request).db.transaction("person.look") as tx:
        person: Person = await store.get(tx, id_)
        return {
            "person": person, "employer": await store.employer(tx, id_), "set_up": await store.is_set_up(tx, id_),
            "may_sign_in": await store.may_sign_in(tx, id_), "roles": ROLES, "statuses": STATUS, "said": SAID,
            "lines": await store.history(tx, lists.MOST, person=id_), "waits": await approvals_store.roles_asked(tx, id_),
        }  # fmt: skip


@router.get("/people/history")
async def history(request: Request, at: Administrator) -> Response:
    """What was done to and by anybody, newest first; `before`: go on from there."""
    asked = at.request.query_params.get("before", "")
    before = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 18 else None
    async with desk_of(request).db.transaction("people.history") as tx:
        lines = await store.history(tx, lists.MOST, before=before)
    more = lines[-1].number if len(lines) == lists.MOST else None
    return at.page(f"{ROOM}/history.html", lines=lines, more=more, said=SAID, roles=ROLES, statuses=STATUS)


@router.get("/people/{person}")
async def one_person(request: Request, person: UUID, at: Administrator) -> Response:
    return at.page(f"{ROOM}/one.html", **await _shown(request, person))


@router.post("/people/{person}")
async def change(request: Request, person: UUID, sent: AdministratorSent) -> Response:
    form = sent.form
    try:
        body = forms.read(
            ChangeForm, {"name": form.some("name"), "roles": form.all("roles"), "status": form.some("status")}
        )
        async with desk_of(request).db.transaction("person.change") as tx:
            await approvals.change_person(
                tx, Who.of(sent.caller), person, sent.version, name=body.name, roles=body.roles, status=body.status
            )
    except Incomplete as error:
        return sent.again(f"{ROOM}/one.html", error, form, **await _shown(request, person))
    except Refusal as refusal:
        return sent.again(f"{ROOM}/one.html", _wrong(refusal), form, **await _shown(request, person))
    return sent.see(f"{PEOPLE}/{person}", done="saved")


@router.post("/people/{person}/invite")
async def invite(request: Request, person: UUID, sent: AdministratorSent) -> Response:
    """The link is shown this once; a new one replaces it. A second click shows the same."""
    desk, made = desk_of(request), _opener(sent)

    async def work(tx: Tx) -> Reply:
        await handlers.invite(tx, desk.sealing, _by(sent), person, made)
        return Reply(IdView(id=person), status=HTTPStatus.CREATED)

    await sent.command().run_as_service("person.invite", work)
    return _given(request, sent, made[0], f"{PEOPLE}/{person}")


def _opener(sent: Sent) -> handlers.Opener:
    """What opens the link that this form makes. What is kept of the command is not enough to make it."""
    return opener_from(sent.door.secret, f"{sent.request.url.path} {sent.who.person} {sent.form.one(forms.KEY)}")


def _given(request: Request, sent: Sent, opener: str, back: str) -> Response:
    address = f"{request.app.state.signer.issuer}/pages/set-up/{opener}"
    return sent.page(f"{ROOM}/given.html", address=address, back=back)


# --- lost what they sign in with --------------------------------------------------------------------------------------


@router.get("/recoveries")
async def recoveries(request: Request, at: Administrator) -> Response:
    """Who asked, and whether another administrator has approved in time."""
    async with desk_of(request).db.transaction("recoveries.list") as tx:
        found = await store.recoveries(tx, lists.MOST)
        every = await store.waiting(tx)
    waiting = [
        (recovery, person, organisation,
         recovery.first_by if recovery.first_at and at.now <= recovery.first_at + SECOND_WITHIN else None)
        for recovery, person, organisation in found
    ]  # fmt: skip
    return at.page(f"{ROOM}/recoveries.html", waiting=waiting, every=every)


@router.post("/recoveries/{recovery}/approve")
async def approve(request: Request, recovery: UUID, sent: AdministratorSent) -> Response:
    """The second approval shows the link to set up anew, this once; a second click shows the same."""
    desk, made = desk_of(request), _opener(sent)

    async def work(tx: Tx) -> Reply:
        opener = await handlers.approve_recovery(tx, desk.sealing, _by(sent), recovery, made)
        return Reply(IdView(id=recovery), status=HTTPStatus.OK if opener is None else HTTPStatus.CREATED)

    done = await sent.command().run_as_service("recovery.approve", work)
    if done.status_code == HTTPStatus.OK:
        return sent.see(RECOVERIES, done="approved-first")
    return _given(request, sent, made[0], RECOVERIES)


@router.post("/recoveries/{recovery}/refuse")
async def refuse(request: Request, recovery: UUID, sent: AdministratorSent) -> Response:
    async with desk_of(request).db.transaction("recovery.refuse") as tx:
        await handlers.refuse_recovery(tx, _by(sent), recovery)
    return sent.see(RECOVERIES, done="saved")
