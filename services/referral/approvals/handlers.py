"""What opens records is asked for, agreed to by a second one, refused, or lapses.

Every way in which an administrator gives somebody something goes through here. What whoever runs the installation does at its
command line does not: it is in the history as theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from schemas import events as e
from schemas.registry import ORGANISATIONS
from schemas.rights import StaffRole, scopes_of
from services.referral.approvals import domain, store
from services.referral.approvals.domain import WITHIN, Approval, Kind, State, Who
from services.referral.partners import changes
from services.referral.partners import handlers as partners
from services.referral.partners import store as partners_store
from services.referral.partners.changes import What
from services.referral.partners.store import Key
from services.referral.people import domain as staff
from services.referral.people import handlers as people
from services.referral.people import store as people_store
from services.referral.people.domain import By, Person, Status
from spean.clock import clear_due, set_due
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.outbox import say
from spean.problem import Refusal

# Kind of due row: something that nobody has agreed to in time. Its subject is the approval.
DUE = "approval"
_CLOCK = "clock"
_SAID = {
    State.APPROVED: (What.ACCESS_APPROVED, staff.What.ROLES_APPROVED),
    State.REFUSED: (What.ACCESS_REFUSED, staff.What.ROLES_REFUSED),
    State.LAPSED: (What.ACCESS_LAPSED, staff.What.ROLES_LAPSED),
}


# --- asked for --------------------------------------------------------------------------------------------------------


async def register_client(tx: Tx, who: Who, id_: str, organisation: UUID, public_key: Mapping[str, str],
                          scopes: Collection[str]) -> UUID | None:  # fmt: skip
    """A system, from now on or (its id is returned) as soon as another has agreed. Raises Refusal `not-found`, `duplicate`,
    `invalid` for a key that is none."""
    await partners_store.lock_organisation(tx, organisation)
    if not domain.needs_another(scopes, first=await store.is_first(tx, organisation)):
        await partners.register_client(tx, who.name, id_, organisation, public_key, scopes)
        return None
    key = partners.signing_key(public_key)
    if await store.client_exists(tx, id_):
        raise Refusal("duplicate")
    asked = {**_of(key), "may": sorted(scopes)}
    return await _ask(tx, who, Kind.SYSTEM, organisation, domain.opened_by(scopes), asked, client=id_)


async def add_key(tx: Tx, who: Who, client: str, public_key: Mapping[str, str]) -> tuple[Key, UUID | None]:
    """Another key for a system, from now on or as soon as another has agreed. Raises Refusal `not-found`, `invalid`,
    `duplicate`, `two-keys`."""
    organisation = await partners_store.lock_client(tx, client)
    (system,) = await partners_store.systems(tx, 1, [client])
    if not domain.needs_another(system.scopes, first=False):
        return await partners.add_key(tx, who.name, client, public_key), None
    key = partners.key_in(public_key)
    partners.expect_room(system, key)
    opened = domain.opened_by(system.scopes)
    return key, await _ask(tx, who, Kind.KEY, organisation, opened, _of(key), client=client)


def _of(key: Key) -> dict[str, Any]:
    return {"key": dict(key.public_key), "thumbprint": key.thumbprint}


async def register_person(tx: Tx, who: Who, organisation: UUID, name: str, sign_in_name: str, language: str,
                          roles: frozenset[StaffRole]) -> Person:  # fmt: skip
    """A new member of staff, who has the roles that open something as soon as another has agreed. Raises as
    `people.register`."""
    await partners_store.lock_organisation(tx, organisation)
    first = await store.is_first(tx, organisation)
    later = domain.opening(roles) if domain.needs_another(scopes_of(roles), first=first) else frozenset()
    by = By(who.person, who.organisation)
    made = await people.register(tx, by, organisation, name, sign_in_name, language, roles - later, later=later)
    if later:
        await _ask_roles(tx, who, made, later)
    return made


async def change_person(tx: Tx, who: Who, id_: UUID, expected: int | None, *, name: str, roles: frozenset[StaffRole],
                        status: Status) -> Person:  # fmt: skip
    """As `people.change`; roles that open something and that the person does not have wait until another has agreed."""
    await people_store.lock_administrators(tx)
    before, waiting = await people_store.lock(tx, id_), await store.waiting_roles(tx, id_)
    later = domain.opening(roles - before.roles) if status is Status.ACTIVE else frozenset()
    now = roles - domain.opening(roles - before.roles)
    by = By(who.person, who.organisation)
    after = await people.change(tx, by, id_, expected, name=name, roles=now, status=status, later=later)
    asked = frozenset(StaffRole(role) for role in waiting.asked["roles"]) if waiting else frozenset()
    if waiting is not None and asked != later:
        await _decided(tx, waiting, State.REFUSED, who.name)
    if later and asked != later:
        await _ask_roles(tx, who, after, later)
    return after


async def _ask_roles(tx: Tx, who: Who, person: Person, roles: frozenset[StaffRole]) -> None:
    opened = domain.opened_by(scopes_of(roles))
    await _ask(tx, who, Kind.ROLES, person.organisation, opened, {"roles": sorted(roles)}, person=person.id)


async def _ask(tx: Tx, who: Who, kind: Kind, organisation: UUID, scopes: frozenset[str], asked: dict[str, Any], *,
               client: str | None = None, person: UUID | None = None) -> UUID:  # fmt: skip
    """It waits, and the organisation is told that something does. Raises Refusal `duplicate`."""
    a = Approval(
        opaque_id(), kind, organisation, client, person, scopes, asked, who.name, who.organisation, tx.now, tx.now + WITHIN,
        State.WAITING, None, None,
    )  # fmt: skip
    await store.insert(tx, a)
    await _note(tx, a, who.name, What.ACCESS_ASKED, staff.What.ROLES_ASKED)
    await set_due(tx, DUE, a.id, a.decide_by)
    await say(tx, ORGANISATIONS, organisation, e.OrganisationAskedV1(answer_by=a.decide_by))
    return a.id


# --- decided ----------------------------------------------------------------------------------------------------------


async def approve(tx: Tx, who: Who, id_: UUID) -> Approval:
    """A second one agrees: it takes effect from this moment. Raises Refusal `not-found`, `state`, `same-person`, `scope`, and
    whatever keeps it from being carried out now (`duplicate`, `two-keys`, `suspended`)."""
    organisation = (await store.find(tx, id_)).organisation
    await partners_store.lock_organisation(tx, organisation)
    a = await _locked(tx, id_)
    domain.approve(a, who, tx.now)
    await _carry_out(tx, a, who)
    await _decided(tx, a, State.APPROVED, who.name)
    return await store.find(tx, id_)


async def _locked(tx: Tx, id_: UUID) -> Approval:
    """Whose roles are given is locked before what waits for them, as where somebody is changed. Raises Refusal `not-found`."""
    found = await store.find(tx, id_)
    if found.person is not None:
        await people_store.lock_administrators(tx)
        await people_store.lock(tx, found.person)
    return await store.lock(tx, id_)


async def _carry_out(tx: Tx, a: Approval, who: Who) -> None:
    if a.person is not None:
        person = await people_store.get(tx, a.person)
        roles = person.roles | {StaffRole(role) for role in a.asked["roles"]}
        # Who asked was allowed to; who agrees is checked here.
        await people.change(tx, By(who.person, system=who.name), a.person, None, roles=roles)
        return
    assert a.client is not None  # noqa: S101 (`about_one` of the table)
    if a.kind is Kind.SYSTEM:
        await partners.register_client(tx, a.asked_by, a.client, a.organisation, a.asked["key"], a.asked["may"])
    else:
        await partners.add_key(tx, a.asked_by, a.client, a.asked["key"])


async def refuse(tx: Tx, who: Who, id_: UUID) -> Approval:
    """It comes to nothing: said by an administrator (also the one who asked), or by the organisation that it is about. Raises
    Refusal `not-found`, `state`."""
    a = await _locked(tx, id_)
    domain.expect_sees(a, who)
    if a.state is not State.WAITING:
        raise Refusal("state")
    await _decided(tx, a, State.REFUSED, who.name)
    return await store.find(tx, id_)


async def lapse(db: Database, id_: UUID) -> None:
    """The clock: nobody has agreed in time (`approve` sees that by itself). It is in the history, and its name is free."""
    async with db.transaction("approval.lapse") as tx:
        a = await _locked(tx, id_)
        if a.state is State.WAITING and tx.now >= a.decide_by:
            await _decided(tx, a, State.LAPSED, _CLOCK)
        elif a.state is not State.WAITING:
            await clear_due(tx, DUE, id_)


async def lapse_all(tx: Tx) -> None:
    """After a restore: some of what waits was refused in the time that is forgotten. Whoever needs it asks anew."""
    for a in await store.waiting(tx):
        await _decided(tx, a, State.LAPSED, _CLOCK)


async def _decided(tx: Tx, a: Approval, state: State, by: str) -> None:
    await store.set_decided(tx, a.id, state, by)
    await _note(tx, a, by, *_SAID[state])
    await clear_due(tx, DUE, a.id)


async def _note(tx: Tx, a: Approval, by: str, said: What, of_staff: staff.What) -> None:
    """In the history of people, or of everything else. The system itself may not be there yet: it is named in the detail."""
    if a.person is not None:
        await people_store.note(tx, a.person, by, of_staff, roles=a.asked["roles"])
        return
    more = {"key": a.asked["thumbprint"]} if a.kind is Kind.KEY else {"scopes": a.asked["may"]}
    await changes.note(tx, by, said, a.organisation, system=a.client, **more)
