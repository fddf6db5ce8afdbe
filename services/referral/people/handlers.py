"""Use cases of staff: registered, changed, invited; and recovered after they lost what they sign in with.

Who may is decided at the door (administrators); what no administrator may is decided here.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pyotp

from schemas.rights import StaffRole
from schemas.vocabulary import OrganisationStatus
from services.referral.partners import closing
from services.referral.partners import store as partners
from services.referral.people import store
from services.referral.people.domain import (
    LANGUAGES,
    OPERATOR,
    SET_UP_FOR,
    SIGN_IN_LINK_FOR,
    By,
    Person,
    Status,
    What,
    approve,
    authenticator_of,
    changed,
    ends_sessions,
    expect_roles,
    may_less,
    new_sign_in_name,
    plain_name,
)
from services.referral.sessions import store as sessions
from spean.crypto import new_opener, seal
from spean.db import Tx
from spean.ids import opaque_id
from spean.problem import Refusal

SET_UP, SIGN_IN = "set-up", "sign-in"
# What opens a link, and the digest of it that is kept.
Opener = tuple[str, bytes]


async def register(tx: Tx, by: By, organisation: UUID, name: str, sign_in_name: str, language: str,
                   roles: frozenset[StaffRole], *, later: frozenset[StaffRole] = frozenset()) -> Person:  # fmt: skip
    """A new member of an organisation's staff, who cannot sign in before an invite; `later`: roles that another has to agree
    to first. Raises Refusal `not-found`, `suspended`, `invalid`, `name-taken`, `administrator-elsewhere`."""
    employer = await partners.lock_organisation(tx, organisation)
    if employer.status is not OrganisationStatus.ACTIVE:
        raise Refusal("suspended")
    if not roles | later or language not in LANGUAGES:
        raise Refusal("invalid", errors=[{"at": "language" if roles | later else "roles", "why": "expected"}])
    expect_roles(by, organisation, roles | later)
    person = Person(
        id=opaque_id(), organisation=organisation, name=plain_name(name), sign_in_name=new_sign_in_name(sign_in_name),
        language=language, roles=roles, status=Status.ACTIVE, version=1,
    )  # fmt: skip
    await store.insert(tx, person)
    await store.note(tx, person.id, by, What.REGISTERED, roles=sorted(roles))
    return person


async def change(tx: Tx, by: By, id_: UUID, expected: int | None, *, name: str | None = None,
                 language: str | None = None, roles: frozenset[StaffRole] | None = None,
                 status: Status | None = None, later: frozenset[StaffRole] = frozenset()) -> Person:  # fmt: skip
    """Change a person; whose work changes is signed out at once. `later`: roles that another has to agree to first. Raises Refusal `not-found`, `version`, `state`, `invalid`,
    `administrator-elsewhere`, `last-administrator`."""
    administrators = await store.lock_administrators(tx)
    before = await store.lock(tx, id_)
    if expected is not None and expected != before.version:
        raise Refusal("version")
    after, detail = changed(before, name=name, language=language, roles=roles, status=status)
    if later:
        expect_roles(by, before.organisation, later)
    if not detail:
        return before
    if not after.roles | later and after.roles != before.roles:
        raise Refusal("invalid", errors=[{"at": "roles", "why": "expected"}])
    if after.roles != before.roles:
        expect_roles(by, before.organisation, after.roles)
    still = after.status is Status.ACTIVE and StaffRole.ADMINISTRATOR in after.roles
    if administrators == [id_] and not still:
        raise Refusal("last-administrator")
    await store.update(tx, after)
    await store.note(tx, id_, by, What.CHANGED, **detail)
    if may_less(before, after):
        await closing.closed(tx, id_)
    if ends_sessions(before, after):
        await sessions.end_sessions(tx, id_)
    if after.status is Status.LEFT:
        await sessions.drop_factors(tx, id_)
        await store.drop_links(tx, id_)
    return after


async def invite(tx: Tx, sealing: bytes, by: By, id_: UUID, made: Opener | None = None) -> str:
    """The opener of a link with which the person sets up how to sign in; one sent before works no longer. `sealing` is the
    key that secrets of authenticators are kept under; `made`: the opener to take, with its digest. Raises Refusal
    `not-found`, or `state` for somebody who can sign in already (see `approve_recovery`) or may not."""
    person = await store.lock(tx, id_)
    if await store.is_set_up(tx, id_) or not await store.may_sign_in(tx, id_):
        raise Refusal("state")
    return await _set_up_link(tx, sealing, by, person.id, made)


async def _set_up_link(tx: Tx, sealing: bytes, by: By, person: UUID, made: Opener | None) -> str:
    opener, digest = made or new_opener()
    secret = seal(sealing, pyotp.random_base32().encode(), authenticator_of(person))
    await store.put_link(tx, person, SET_UP, digest, secret, by, tx.now + SET_UP_FOR)
    await store.note(tx, person, by, What.INVITED)
    return opener


async def sign_in_link(tx: Tx, by: By, sign_in_name: str) -> str:
    """The opener of a link that signs a sample person in. Only where the installation is reached from its own machine alone
    (the caller looks, and so does who redeems it). Raises Refusal `not-found`, also for anybody who is no sample."""
    person = await store.find(tx, sign_in_name)
    if person is None or not await store.is_sample(tx, person.id) or not await store.may_sign_in(tx, person.id):
        raise Refusal("not-found")
    opener, digest = new_opener()
    await store.put_link(tx, person.id, SIGN_IN, digest, None, by, tx.now + SIGN_IN_LINK_FOR)
    await store.note(tx, person.id, by, What.LINK_MADE)
    return opener


async def ask_recovery(tx: Tx, sign_in_name: str) -> None:
    """Whoever has that name has lost what they sign in with: administrators see it and ask the person back, by another way.
    For an unknown name nothing happens, and nothing tells the difference."""
    person = await store.find(tx, sign_in_name)
    if person is None or not await store.may_sign_in(tx, person.id):
        return
    if await store.insert_recovery(tx, opaque_id(), person.id):
        await store.note(tx, person.id, person.id, What.RECOVERY_ASKED)


async def approve_recovery(tx: Tx, sealing: bytes, by: By, id_: UUID, made: Opener | None = None) -> str | None:
    """An administrator says that it is really the person. With the second, different one within 24 h nothing that the person
    had opens anything any more, and the opener of a link to set up anew is returned: for the person, by a safe way.

    Raises Refusal `not-found`, `two-administrators`, `state` where the person may not sign in any more.
    """
    recovery = await store.lock_recovery(tx, id_)
    complete = approve(recovery, by, tx.now)
    if not await store.may_sign_in(tx, recovery.person):
        raise Refusal("state")
    assert by.person is not None  # noqa: S101 (`approve` refuses whoever is nobody)
    await store.note(tx, recovery.person, by, What.RECOVERY_APPROVED)
    if not complete:
        await store.approve_first(tx, id_, by.person)
        return None
    await store.approve_second(tx, id_, by.person)
    await closing.closed(tx, recovery.person)
    await sessions.end_sessions(tx, recovery.person)
    await sessions.drop_factors(tx, recovery.person)
    await store.note(tx, recovery.person, by, What.FACTORS_REMOVED)
    return await _set_up_link(tx, sealing, by, recovery.person, made)


async def refuse_recovery(tx: Tx, by: By, id_: UUID) -> None:
    """It was not the person, or a mistake: nothing changes for them. Raises Refusal `not-found`."""
    recovery = await store.lock_recovery(tx, id_)
    await store.refuse_recovery(tx, id_)
    await store.note(tx, recovery.person, by, What.RECOVERY_REFUSED)


# --- after a restore --------------------------------------------------------------------------------------------------


async def close_again(tx: Tx, id_: UUID) -> None:
    """Something of somebody's was taken away in a time that this database has forgotten, and nobody knows what: they are
    locked, and nothing that they had opens anything, until an administrator has looked. For whoever is not known, or is shut
    out already, nothing changes."""
    try:
        person = await store.lock(tx, id_)
    except Refusal:
        return
    if person.status is not Status.ACTIVE and not await store.is_set_up(tx, id_):
        return
    if person.status is Status.ACTIVE:
        await store.update(tx, replace(person, status=Status.LOCKED, version=person.version + 1))
    await sessions.drop_factors(tx, id_)
    await store.note(tx, id_, OPERATOR, What.RESTORED)


async def refuse_recoveries(tx: Tx) -> None:
    """All that wait: some of them were refused in a time that this database has forgotten."""
    for person in await store.refuse_recoveries(tx):
        await store.note(tx, person, OPERATOR, What.RECOVERY_REFUSED)
