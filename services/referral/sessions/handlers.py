"""Use cases of signing in and out: name and password, then a code; a link; a session and what it opens.

A try is counted before it is made and forgiven when it was right, so that many at once are each counted. The slow part, the
hash of a password, happens between two transactions.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pyotp

from schemas.questions import OrganisationFacts
from schemas.rights import StaffRole
from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.referral.people import handlers as staff
from services.referral.people import store as people
from services.referral.people.domain import Person, What, usable
from services.referral.sessions import store
from services.referral.sessions.desk import Desk, place_of
from services.referral.sessions.domain import (
    ABSOLUTE,
    CODE_TRIES,
    SEEN_EVERY,
    STEP_FOR,
    STEPS_ASIDE,
    TIME_STEP_S,
    plain_code,
    time_step,
    worth_noting,
)
from services.referral.sessions.store import Session
from spean.comparable import comparable
from spean.crypto import new_opener, opener_digest
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.problem import Refusal
from spean.web.visitor import FindVisitor, Visitor

# A name that is longer than this is nobody's; it is not looked at any further.
_TYPED_MOST = 200
Counted = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has just begun: what its cookie holds, and what the browser keeps to be known by."""

    cookie: str
    mark: str
    person: UUID


def find_visitor(db: Database, *, watching: bool = False) -> FindVisitor:
    """Who a session cookie is, from the sessions themselves. `watching`: it does not count as use of the session."""

    async def find(value: str) -> Visitor | None:
        digest = opener_digest(value)
        if digest is None:
            return None
        async with db.transaction("session.find") as tx:
            return await visitor(tx, digest, watching=watching)

    return find


async def visitor(tx: Tx, digest: bytes, *, watching: bool = False) -> Visitor | None:
    """Whoever has this session open; it counts as used now, but for a page that looks by itself (`watching`)."""
    row = await store.live(tx, digest)
    if row is None:
        return None
    if not watching and tx.now - row["seen_at"] > SEEN_EVERY:
        await store.seen(tx, row["session"])
    facts = OrganisationFacts(
        organisation=row["organisation"], type=OrganisationType(row["type"]), country=row["country"],
        law_enforcement=row["law_enforcement"], status=OrganisationStatus(row["status"]),
    )  # fmt: skip
    return Visitor(
        person=row["person"], session=row["session"], name=row["name"], organisation=row["organisation_name"],
        sample=row["sample"], roles=frozenset(StaffRole(role) for role in row["roles"]),
        networks=frozenset(row["networks"]), facts=facts, language=row["language"],
    )  # fmt: skip


# --- name and password, then a code -----------------------------------------------------------------------------------


async def try_password(desk: Desk, typed_name: str, password: str, *, address: str, mark: str = "") -> str:
    """The first step. Returns the opener of the second. `address`: where the request comes from; `mark`: what the browser
    shows from an earlier sign-in. Raises Refusal `sign-in-wrong` (the same whatever is wrong), TooManyTries."""
    name = comparable(typed_name) if len(typed_name) <= _TYPED_MOST else ""
    async with desk.db.transaction("sign-in.count") as tx:
        person = await people.find(tx, name) if usable(name) else None
        counted = _counted(desk, name, person, address, mark)
        failures = [await store.count_try(tx, *one) for one in counted]
        hash_ = await store.password_of(tx, person.id) if person else None
    right = await desk.passwords.fits(hash_, password)
    again = await desk.passwords.hash(password) if right and hash_ and desk.passwords.outdated(hash_) else None
    opener = None
    async with desk.db.transaction("sign-in.password") as tx:
        if person is not None and right and hash_ is not None and await _may(tx, person, hash_):
            opener = await _second_step(tx, person.id)
            await _forgive(tx, counted)
            if again:
                await store.put_password(tx, person.id, again)
        elif person is not None and (noted := [number for number in failures if worth_noting(number)]):
            await people.note(tx, person.id, person.id, What.SIGN_IN_FAILED, step="password", tries=max(noted))
    if opener is None:
        raise Refusal("sign-in-wrong")
    return opener


def _counted(desk: Desk, name: str, person: Person | None, address: str, mark: str) -> Counted:
    """What this try is counted by, always in the same order."""
    if person is not None and mark and desk.known(person.id, mark):
        return [("device", desk.bucket("device", f"{person.id} {mark}"))]
    place, by_name = place_of(address), ("name", desk.bucket("name", name))
    if place is None:
        return [by_name]
    return [("address", desk.bucket("address", place)), by_name, ("pair", desk.bucket("pair", f"{place} {name}"))]


async def _forgive(tx: Tx, counted: Counted) -> None:
    for kind, bucket in counted:
        if kind in {"pair", "device"}:
            await store.forget_tries(tx, kind, bucket)
        else:
            await store.forgive_try(tx, kind, bucket)


async def _may(tx: Tx, person: Person, hash_: str) -> bool:
    """Still, after the time that the hash took; a password alone never opens anything."""
    return (
        await store.password_of(tx, person.id) == hash_
        and await store.authenticator_of(tx, person.id) is not None
        and await people.may_stop(tx, person.id)
    )


async def _second_step(tx: Tx, person: UUID) -> str:
    await store.forget_ended(tx)
    opener, digest = new_opener()
    await store.insert_step(tx, digest, "code", person, b"", tx.now + STEP_FOR)
    return opener


async def try_code(desk: Desk, step_opener: str, typed: str, *, before: str = "") -> Opened:
    """The second step. `before`: the cookie that the browser had; its session ends. Raises Refusal `sign-in-wrong`,
    `step-gone` (begin again), TooManyTries."""
    digest = opener_digest(step_opener)
    if digest is None:
        raise Refusal("step-gone")
    opened = None
    async with desk.db.transaction("sign-in.code") as tx:
        step = await store.try_step(tx, "code", digest)
        if step is None or step.person is None or step.tries > CODE_TRIES:
            raise Refusal("step-gone")
        counted = ("code", desk.bucket("code", str(step.person)))
        failures = await store.count_try(tx, *counted)
        if await code_fits(tx, desk, step.person, typed):
            await store.use_step(tx, "code", digest)
            await store.forget_tries(tx, *counted)
            opened = await open_session(tx, desk, step.person, "password", before=before)
        elif worth_noting(failures):
            await people.note(tx, step.person, step.person, What.SIGN_IN_FAILED, step="code", tries=failures)
    if opened is None:
        raise Refusal("sign-in-wrong")
    return opened


async def code_fits(tx: Tx, desk: Desk, person: UUID, typed: str) -> bool:
    """Is it a code of the person's authenticator that was not used yet? Then it is used."""
    sealed = await store.authenticator_of(tx, person)
    if sealed is None:
        return False
    step = step_of_code(tx, desk.unsealed(person, sealed), typed)
    return step is not None and await store.use_time_step(tx, person, step)


def step_of_code(tx: Tx, secret: str, typed: str) -> int | None:
    """The time step, about now, whose code this is."""
    code, now = plain_code(typed), time_step(tx.now)
    totp = pyotp.TOTP(secret, interval=TIME_STEP_S)
    fitting = [
        now + aside
        for aside in STEPS_ASIDE
        if hmac.compare_digest(totp.generate_otp(now + aside).encode(), code.encode())
    ]
    return max(fitting, default=None)


async def redeem_link(desk: Desk, opener: str, *, before: str = "") -> Opened:
    """Sign a sample person in by a one-time link. Raises Refusal `link-gone`."""
    digest = opener_digest(opener)
    if digest is None or not desk.local:
        raise Refusal("link-gone")
    async with desk.db.transaction("sign-in.link") as tx:
        link = await people.use_link(tx, staff.SIGN_IN, digest)
        if link is None or not await people.is_sample(tx, link.person):
            raise Refusal("link-gone")
        return await open_session(tx, desk, link.person, "link", before=before)


async def link_works(desk: Desk, kind: str, opener: str) -> bool:
    """Would it work? Looking uses nothing, so whoever opens a link before its owner does (a preview) takes nothing away."""
    digest = opener_digest(opener)
    if digest is None or (kind == staff.SIGN_IN and not desk.local):
        return False
    async with desk.db.transaction("link.look") as tx:
        link = await people.link(tx, kind, digest)
        return link is not None and await people.may_sign_in(tx, link.person)


# --- sessions -----------------------------------------------------------------------------------------------------


async def open_session(tx: Tx, desk: Desk, person: UUID, how: str, *, before: str = "") -> Opened:
    """A new session, under a new cookie; the one that the browser had ends. Raises Refusal `sign-in-wrong` for somebody
    who may not sign in."""
    if not await people.may_stop(tx, person):
        raise Refusal("sign-in-wrong")
    await store.forget_ended(tx)
    old = opener_digest(before)
    if old is not None:
        await store.end_digest(tx, old)
    cookie, digest = new_opener()
    session = Session(opaque_id(), person, how, opened_at=tx.now, seen_at=tx.now, ends_at=tx.now + ABSOLUTE)
    await store.insert_session(tx, digest, session)
    await people.note(tx, person, person, What.SIGNED_IN, how=how)
    return Opened(cookie, desk.mark(person), person)


async def sign_out(tx: Tx, cookie: str) -> None:
    """End this session; saying it again changes nothing."""
    digest = opener_digest(cookie)
    person = await store.end_digest(tx, digest) if digest else None
    if person is not None:
        await people.note(tx, person, person, What.SIGNED_OUT)


async def sign_out_everywhere(tx: Tx, who: Visitor) -> None:
    """End every session of this person, this one too."""
    await store.end_sessions(tx, who.person)
    await people.note(tx, who.person, who.person, What.SIGNED_OUT, everywhere=True)


async def end_one(tx: Tx, who: Visitor, session: UUID) -> None:
    """End one of one's own sessions. Raises Refusal `not-found`."""
    if not await store.end_session(tx, who.person, session):
        raise Refusal("not-found")
    await people.note(tx, who.person, who.person, What.SIGNED_OUT)


async def ask_recovery(desk: Desk, typed_name: str, *, address: str) -> None:
    """Somebody says that they lost what they sign in with; what comes of it looks the same for every name. Raises
    TooManyTries: a place may ask only so often (a name, where the place cannot be told)."""
    name = comparable(typed_name) if len(typed_name) <= _TYPED_MOST else ""
    async with desk.db.transaction("recovery.ask") as tx:
        await store.count_try(tx, "ask", desk.bucket("ask", place_of(address) or f"name {name}"))
        if usable(name):
            await staff.ask_recovery(tx, name)
