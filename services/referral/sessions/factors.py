"""Use cases of what people sign in with: set up from an invite, changed, added, removed.

Whoever changes one of them must have signed in a few minutes ago, and every change ends all other sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pyotp

from services.referral.partners import closing
from services.referral.people import handlers as staff
from services.referral.people import store as people
from services.referral.people.domain import Person, What
from services.referral.sessions import store
from services.referral.sessions.desk import Desk
from services.referral.sessions.domain import STEP_FOR, new_password
from services.referral.sessions.handlers import Opened, open_session, step_of_code
from spean.crypto import new_opener, opener_digest
from spean.db import Tx
from spean.problem import Refusal
from spean.web.visitor import Visitor

ISSUER = "Spean"
# An unattended phone must not become somebody else's way in.
FRESH_FOR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """What an authenticator app takes: as text, or (`uri`) as a QR code."""

    secret: str
    uri: str


def _authenticator(person: Person, secret: str) -> Authenticator:
    uri = pyotp.TOTP(secret).provisioning_uri(name=person.sign_in_name, issuer_name=ISSUER)
    return Authenticator(secret, uri)


# --- from an invite -----------------------------------------------------------------------------------------------


async def look_at_invite(desk: Desk, opener: str) -> tuple[Person, Authenticator]:
    """Who is invited, and the authenticator that they may take; nothing is used by looking. Raises Refusal `link-gone`."""
    async with desk.db.transaction("set-up.look") as tx:
        person, secret = await invited(tx, desk, opener)
    return person, _authenticator(person, secret)


async def invited(tx: Tx, desk: Desk, opener: str, *, use: bool = False) -> tuple[Person, str]:
    """The person of an invite and the secret that it offers; `use`: it works no longer. Raises Refusal `link-gone`."""
    digest = opener_digest(opener)
    find = people.use_link if use else people.link
    link = await find(tx, staff.SET_UP, digest) if digest else None
    if link is None or link.sealed is None or not await people.may_sign_in(tx, link.person):
        raise Refusal("link-gone")
    return await people.get(tx, link.person), desk.unsealed(link.person, link.sealed)


async def set_up_password(desk: Desk, opener: str, password: str, code: str, *, before: str = "") -> Opened:
    """A password and an authenticator from an invite, and signed in with them. Raises Refusal `link-gone`, `password`,
    `sign-in-wrong` for a code that is not the authenticator's (the link goes on working)."""
    async with desk.db.transaction("set-up.look") as tx:
        person, secret = await invited(tx, desk, opener)
        if step_of_code(tx, secret, code) is None:
            raise Refusal("sign-in-wrong")
    hash_ = await desk.passwords.hash(new_password(password, person.sign_in_name))
    async with desk.db.transaction("set-up.password") as tx:
        await people.lock(tx, person.id)
        person, secret = await invited(tx, desk, opener, use=True)
        step = step_of_code(tx, secret, code)
        if step is None:
            raise Refusal("sign-in-wrong")
        await store.put_password(tx, person.id, hash_)
        await store.put_authenticator(tx, person.id, desk.sealed(person.id, secret), step)
        await people.note(tx, person.id, person.id, What.SET_UP, how="password")
        return await open_session(tx, desk, person.id, "password", before=before)


# --- one's own --------------------------------------------------------------------------------------------------------


async def expect_fresh(tx: Tx, who: Visitor) -> None:
    """Raises Refusal `sign-in-again`."""
    session = await store.session(tx, who.person, who.session)
    if session is None or tx.now - session.opened_at > FRESH_FOR:
        raise Refusal("sign-in-again")


async def renewed(tx: Tx, desk: Desk, who: Visitor) -> Opened:
    """After a change: every session ends, this one goes on under a new cookie."""
    session = await store.session(tx, who.person, who.session)
    if session is None:
        raise Refusal("sign-in-again")
    await store.end_sessions(tx, who.person)
    return await open_session(tx, desk, who.person, session.how)


async def change_password(desk: Desk, who: Visitor, password: str) -> Opened:
    """Raises Refusal `sign-in-again`, `password`, `state` where there is no authenticator to go with it."""
    async with desk.db.transaction("password.look") as tx:
        await expect_fresh(tx, who)
        person = await people.get(tx, who.person)
    hash_ = await desk.passwords.hash(new_password(password, person.sign_in_name))
    async with desk.db.transaction("password.change") as tx:
        await people.lock(tx, who.person)
        await expect_fresh(tx, who)
        if await store.authenticator_of(tx, who.person) is None:
            raise Refusal("state")
        await store.put_password(tx, who.person, hash_)
        await people.note(tx, who.person, who.person, What.PASSWORD_CHANGED)
        await closing.closed(tx, who.person)
        return await renewed(tx, desk, who)


async def begin_authenticator(desk: Desk, who: Visitor) -> tuple[str, Authenticator]:
    """The opener of the step that takes its first code, and the new authenticator; the old one works until then. Raises
    Refusal `sign-in-again`."""
    opener, digest = new_opener()
    secret = pyotp.random_base32()
    async with desk.db.transaction("authenticator.begin") as tx:
        await expect_fresh(tx, who)
        person = await people.get(tx, who.person)
        sealed = desk.sealed(person.id, secret)
        await store.insert_step(tx, digest, "new-authenticator", person.id, sealed, tx.now + 2 * STEP_FOR)
    return opener, _authenticator(person, secret)


async def look_at_authenticator(desk: Desk, who: Visitor, opener: str) -> Authenticator:
    """The new authenticator of a step once more, after a wrong code. Raises Refusal `step-gone`."""
    digest = opener_digest(opener)
    async with desk.db.transaction("authenticator.look") as tx:
        step = await store.step(tx, "new-authenticator", digest) if digest else None
        if step is None or step.person != who.person:
            raise Refusal("step-gone")
        return _authenticator(await people.get(tx, who.person), desk.unsealed(who.person, step.value))


async def change_authenticator(desk: Desk, who: Visitor, opener: str, code: str) -> Opened:
    """Raises Refusal `sign-in-again`, `step-gone`, `sign-in-wrong` for a code that is not the new one's."""
    digest = opener_digest(opener)
    async with desk.db.transaction("authenticator.change") as tx:
        await people.lock(tx, who.person)
        await expect_fresh(tx, who)
        step = await store.use_step(tx, "new-authenticator", digest) if digest else None
        if step is None or step.person != who.person:
            raise Refusal("step-gone")
        time_step = step_of_code(tx, desk.unsealed(who.person, step.value), code)
        if time_step is None:
            raise Refusal("sign-in-wrong")
        await store.put_authenticator(tx, who.person, step.value, time_step)
        await people.note(tx, who.person, who.person, What.AUTHENTICATOR_CHANGED)
        await closing.closed(tx, who.person)
        return await renewed(tx, desk, who)


async def remove_passkey(desk: Desk, who: Visitor, id_: UUID) -> Opened:
    """Raises Refusal `sign-in-again`, `not-found`, `last-way-in`."""
    async with desk.db.transaction("passkey.remove") as tx:
        await people.lock(tx, who.person)
        await expect_fresh(tx, who)
        if not await store.drop_passkey(tx, who.person, id_):
            raise Refusal("not-found")
        if not await people.is_set_up(tx, who.person):
            raise Refusal("last-way-in")
        await people.note(tx, who.person, who.person, What.PASSKEY_REMOVED)
        await closing.closed(tx, who.person)
        return await renewed(tx, desk, who)
