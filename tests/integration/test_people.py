"""Staff: registered, changed, invited, recovered by two administrators; and who sees of it what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.rights import StaffRole
from services.referral.people import handlers, store
from services.referral.people.domain import OPERATOR, By, Person, Status
from services.referral.sessions import handlers as sessions
from spean.db import DatabaseProblem, Tx
from spean.problem import Refusal
from tests.builders import World
from tests.integration.staff import Member, alive, desk_of, hired, invited, member, new_address, set_up, wait_is_long

ADMINISTRATOR = StaffRole.ADMINISTRATOR


async def done(world: World, work: Callable[[Tx], Awaitable[Any]]) -> Any:
    """The use case in a transaction of the network's."""
    async with desk_of(world.made).db.transaction("test") as tx:
        return await work(tx)


async def register(world: World, organisation: str, name: str, by: By = OPERATOR, **other: Any) -> Person:
    roles = other.get("roles", frozenset({StaffRole.SENDER}))
    return await done(
        world,
        lambda tx: handlers.register(
            tx, by, UUID(organisation), other.get("shown", "Made Up"), name, other.get("language", "km"), roles
        ),
    )


async def change(world: World, person: Person, expected: int | None = None, by: By = OPERATOR, **what: Any) -> Person:
    return await done(world, lambda tx: handlers.change(tx, by, person.id, expected, **what))


async def whats(world: World, person: Person) -> list[str]:
    return [str(one.what) for one in await done(world, lambda tx: store.history(tx, 50, person=person.id))]


# --- registered -------------------------------------------------------------------------------------------------------


async def test_a_member_of_staff_is_registered_and_the_history_says_so(world: World) -> None:
    name = f"Dara.{uuid4().hex[:8]}"
    made = await register(world, world.sender.id, name)
    kept = await done(world, lambda tx: store.get(tx, made.id))
    assert kept == made
    assert (made.sign_in_name, made.version, made.status) == (name.casefold(), 1, Status.ACTIVE)
    (said,) = await done(world, lambda tx: store.history(tx, 5, person=made.id))
    assert (said.what, said.by, dict(said.detail)) == ("registered", "operator", {"roles": ["sender"]})


async def test_two_people_never_have_one_sign_in_name(world: World) -> None:
    name = f"e\u0301va.{uuid4().hex[:8]}"
    await register(world, world.sender.id, name)
    for same in (name, name.upper(), f" {name} ", name.replace("e\u0301", "\u00c9")):
        with pytest.raises(Refusal, match="name-taken"):
            await register(world, world.coordinator.id, same)


async def test_nobody_is_registered_where_or_how_it_cannot_be(world: World) -> None:
    foreign = By(uuid4(), UUID(world.coordinator.id))
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("not-found", str(uuid4()), {}),
        ("invalid", world.sender.id, {"roles": frozenset()}),
        ("invalid", world.sender.id, {"language": "tlh"}),
        ("invalid", world.sender.id, {"shown": " "}),
        ("administrator-elsewhere", world.sender.id, {"roles": frozenset({ADMINISTRATOR}), "by": foreign}),
    ]
    for code, organisation, other in refused:
        with pytest.raises(Refusal, match=code):
            await register(world, organisation, f"nobody.{uuid4().hex[:8]}", **other)
    house = await world.house("Suspended house")
    await world.admin.post(f"/referral/organisations/{house.id}/suspend")
    with pytest.raises(Refusal, match="suspended"):
        await register(world, house.id, f"nobody.{uuid4().hex[:8]}")


# --- changed ----------------------------------------------------------------------------------------------------------


async def test_whose_work_changes_is_signed_out_whose_name_changes_is_not(world: World) -> None:
    someone = await member(world.made, world.sender.id, StaffRole.SENDER)
    cookie = (await someone.signs_in()).cookie
    after = await change(world, someone.person, name="Another Name", language="km")
    assert await alive(someone.desk.db, cookie)
    assert (after.name, after.language, after.version) == ("Another Name", "km", 2)
    after = await change(world, after, 2, roles=frozenset({StaffRole.RECEIVER}))
    assert not await alive(someone.desk.db, cookie)
    assert (await someone.visitor(await someone.signs_in())).roles == {StaffRole.RECEIVER}
    said = [dict(one.detail) for one in await someone.history() if one.what == "changed"]
    assert said == [{"roles": [["sender"], ["receiver"]]}, {"name": "changed", "language": ["en", "km"]}]


@pytest.mark.parametrize("status", [Status.LOCKED, Status.LEFT])
async def test_who_is_locked_or_has_left_is_out_at_once_and_stays_out(world: World, status: Status) -> None:
    someone = await member(world.made, world.sender.id)
    opened, step = await someone.signs_in(), await someone.step()
    await change(world, someone.person, status=status)
    assert not await alive(someone.desk.db, opened.cookie)
    await someone.forget_codes()
    with pytest.raises(Refusal, match="step-gone"):
        await sessions.try_code(someone.desk, step, someone.code())
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await someone.step()
    if status is Status.LOCKED:
        await change(world, someone.person, status=Status.ACTIVE)
        assert not await alive(someone.desk.db, opened.cookie), "what ended stays ended"
        assert await alive(someone.desk.db, (await someone.signs_in()).cookie)
    else:
        with pytest.raises(Refusal, match="state"):
            await change(world, someone.person, status=Status.ACTIVE)


async def test_the_same_change_twice_is_one(world: World) -> None:
    person = await hired(world.made, world.sender.id, StaffRole.SENDER)
    once = await change(world, person, 1, language="km")
    twice = await change(world, person, 2, language="km")
    assert once == twice
    assert await whats(world, person) == ["changed", "registered"]


async def test_a_change_of_what_somebody_else_has_changed_is_refused(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    await change(world, person, 1, name="First")
    with pytest.raises(Refusal, match="version"):
        await change(world, person, 1, name="Second")
    with pytest.raises(Refusal, match="not-found"):
        await done(world, lambda tx: handlers.change(tx, OPERATOR, uuid4(), None, name="Nobody"))
    with pytest.raises(Refusal, match="invalid"):
        await change(world, person, roles=frozenset())


async def test_an_administrator_is_not_made_at_another_organisation_later_either(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    administrator = By(uuid4(), UUID(world.coordinator.id))
    with pytest.raises(Refusal, match="administrator-elsewhere"):
        await change(world, person, by=administrator, roles=frozenset({ADMINISTRATOR}))


async def test_the_last_administrator_stays_one(world: World) -> None:
    last = await hired(world.made, world.coordinator.id, ADMINISTRATOR)

    async def alone(tx: Tx, **what: Any) -> None:
        await tx.conn.execute("update person set status = 'locked' where id <> $1 and status = 'active'", last.id)
        await handlers.change(tx, OPERATOR, last.id, None, **what)

    for what in ({"status": Status.LOCKED}, {"status": Status.LEFT}, {"roles": frozenset({StaffRole.COORDINATOR})}):
        with pytest.raises(Refusal, match="last-administrator"):
            await done(world, lambda tx, what=what: alone(tx, **what))  # type: ignore[misc]
    await hired(world.made, world.coordinator.id, ADMINISTRATOR)
    await change(world, last, status=Status.LEFT)


# --- seen -------------------------------------------------------------------------------------------------------------


async def test_an_organisation_sees_its_own_people_and_their_history_only(world: World) -> None:
    mine, other = await hired(world.made, world.sender.id), await hired(world.made, world.coordinator.id)
    db = desk_of(world.made).db
    async with db.transaction("test", org=UUID(world.sender.id)) as tx:
        seen = {row["id"] for row in await tx.conn.fetch("select id from person")}
        told = {row["person"] for row in await tx.conn.fetch("select person from person_change")}
    assert mine.id in seen & told
    assert other.id not in seen | told
    for table in ("password", "authenticator", "passkey", "session", "link", "step", "tries", "recovery"):
        with pytest.raises(DatabaseProblem, match="42501"):
            async with db.transaction("test", org=UUID(world.sender.id)) as tx:
                await tx.conn.fetch(f"select * from {table}")


async def test_the_history_cannot_be_rewritten(world: World) -> None:
    await hired(world.made, world.sender.id)
    for statement in ("update person_change set by = 'somebody'", "delete from person_change"):
        with pytest.raises(DatabaseProblem, match="42501"):
            await done(world, lambda tx, statement=statement: tx.conn.execute(statement))  # type: ignore[misc]


async def test_lists_are_of_one_organisation_or_of_all(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    new = await hired(world.made, world.sender.id)
    names = await done(world, lambda tx: store.names(tx, UUID(world.sender.id)))
    listed = await done(world, lambda tx: store.listed(tx, [id_ for id_, _ in names]))
    assert {one.person.id: (one.set_up, one.seen_at is not None) for one in listed} == {
        someone.id: (True, True),
        new.id: (False, False),
    }
    everybody = await done(world, store.names)
    assert {someone.id, new.id} < {id_ for id_, _ in everybody}
    page = await done(world, lambda tx: store.history(tx, 2, organisation=UUID(world.sender.id)))
    rest = await done(
        world, lambda tx: store.history(tx, 2, organisation=UUID(world.sender.id), before=page[-1].number)
    )
    assert [one.number for one in page + rest] == sorted({one.number for one in page + rest}, reverse=True)


# --- invited ----------------------------------------------------------------------------------------------------------


async def test_an_invite_works_once_and_a_new_one_replaces_it(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    first = await invited(world.made, person)
    second = await invited(world.made, person)
    with pytest.raises(Refusal, match="link-gone"):
        await set_up(world.made, person, first)
    await set_up(world.made, person, second)
    with pytest.raises(Refusal, match="link-gone"):
        await set_up(world.made, person, second)
    with pytest.raises(Refusal, match="state"):
        await invited(world.made, person)
    assert await whats(world, person) == ["signed-in", "set-up", "invited", "invited", "registered"]


async def test_an_invite_ends(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    opener = await invited(world.made, person)
    link = await done(world, lambda tx: tx.conn.fetchrow("select * from link where person = $1", person.id))
    assert opener.encode() not in link["digest"] + link["sealed"]
    in_three_days = await done(world, lambda tx: tx.conn.fetchval("select now() + interval '72 hours'"))
    assert abs(link["ends_at"] - in_three_days) < timedelta(minutes=1)
    await done(world, lambda tx: tx.conn.execute("update link set ends_at = now() where person = $1", person.id))
    with pytest.raises(Refusal, match="link-gone"):
        await set_up(world.made, person, opener)


@pytest.mark.parametrize("status", [Status.LOCKED, Status.LEFT])
async def test_who_may_not_sign_in_is_not_invited_and_an_invite_opens_nothing(world: World, status: Status) -> None:
    person = await hired(world.made, world.sender.id)
    opener = await invited(world.made, person)
    await change(world, person, status=status)
    with pytest.raises(Refusal, match="state"):
        await invited(world.made, person)
    with pytest.raises(Refusal, match="link-gone"):
        await set_up(world.made, person, opener)


# --- lost what they sign in with --------------------------------------------------------------------------------------


async def lost(world: World, someone: Member) -> UUID:
    await sessions.ask_recovery(someone.desk, someone.person.sign_in_name.upper(), address=new_address())
    found = await done(world, lambda tx: store.recoveries(tx, 1_000))
    return next(one.id for one, person, _ in found if person.id == someone.id)


async def approve(world: World, by: By, recovery: UUID) -> str | None:
    sealing = desk_of(world.made).sealing
    return await done(world, lambda tx: handlers.approve_recovery(tx, sealing, by, recovery))


async def administrators(world: World) -> tuple[By, By]:
    one, other = [await hired(world.made, world.coordinator.id, ADMINISTRATOR) for _ in range(2)]
    return By(one.id, one.organisation), By(other.id, other.organisation)


async def test_two_administrators_give_somebody_a_new_start(world: World) -> None:
    someone, (first, second) = await member(world.made, world.sender.id), await administrators(world)
    cookie = (await someone.signs_in()).cookie
    recovery = await lost(world, someone)
    assert await approve(world, first, recovery) is None
    assert await alive(someone.desk.db, cookie), "one alone changes nothing"
    opener = await approve(world, second, recovery)
    assert opener is not None
    assert not await alive(someone.desk.db, cookie)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await someone.step()
    again, opened = await set_up(world.made, someone.person, opener)
    assert again.secret != someone.secret
    assert await alive(someone.desk.db, opened.cookie)
    said = [(str(one.what), one.by) for one in await someone.history()]
    assert [one for one in said if one[0].startswith(("recovery", "factors"))] == [
        ("factors-removed", second.name), ("recovery-approved", second.name), ("recovery-approved", first.name),
        ("recovery-asked", f"person:{someone.id}"),
    ]  # fmt: skip
    with pytest.raises(Refusal, match="not-found"):
        await approve(world, first, recovery)


async def test_one_administrator_alone_or_the_person_never_recovers_anybody(world: World) -> None:
    someone, (first, second) = (
        await member(world.made, world.coordinator.id, ADMINISTRATOR),
        await administrators(world),
    )
    recovery = await lost(world, someone)
    with pytest.raises(Refusal, match="two-administrators"):
        await approve(world, someone.by, recovery)
    assert await approve(world, first, recovery) is None
    for nobody in (first, someone.by, OPERATOR):
        with pytest.raises(Refusal, match="two-administrators"):
            await approve(world, nobody, recovery)
    await done(
        world,
        lambda tx: tx.conn.execute(
            "update recovery set first_at = now() - interval '24 hours 1 second' where id = $1", recovery
        ),
    )
    assert await approve(world, second, recovery) is None, "the first word was too old"
    assert await approve(world, first, recovery) is not None


async def test_the_database_refuses_one_administrator_too(world: World) -> None:
    someone, (first, _) = await member(world.made, world.sender.id), await administrators(world)
    recovery = await lost(world, someone)
    await approve(world, first, recovery)
    for second in (first.person, someone.id):
        with pytest.raises(DatabaseProblem, match="23514"):
            await done(world, lambda tx, second=second: store.approve_second(tx, recovery, second))  # type: ignore[misc]


async def test_asking_twice_is_one_request_and_a_refused_one_may_be_asked_again(world: World) -> None:
    someone, (first, second) = await member(world.made, world.sender.id), await administrators(world)
    recovery = await lost(world, someone)
    assert await lost(world, someone) == recovery
    await done(world, lambda tx: handlers.refuse_recovery(tx, first, recovery))
    for late in (
        approve(world, second, recovery),
        done(world, lambda tx: handlers.refuse_recovery(tx, first, recovery)),
    ):
        with pytest.raises(Refusal, match="not-found"):
            await late
    assert await lost(world, someone) != recovery
    assert (await someone.whats())[:3] == ["recovery-asked", "recovery-refused", "recovery-asked"]
    await someone.signs_in()


async def test_a_recovery_opens_nothing_for_whoever_has_left_meanwhile(world: World) -> None:
    someone, (first, second) = await member(world.made, world.sender.id), await administrators(world)
    recovery = await lost(world, someone)
    await approve(world, first, recovery)
    await change(world, someone.person, status=Status.LEFT)
    with pytest.raises(Refusal, match="state"):
        await approve(world, second, recovery)


async def test_asking_for_an_unknown_name_looks_the_same_and_a_place_asks_only_so_often(world: World) -> None:
    desk, address = desk_of(world.made), new_address()
    before = await done(world, lambda tx: tx.conn.fetchval("select count(*) from recovery"))
    for name in ("nobody.at.all", "", "a" * 5_000, "nul\x00name", "😀"):
        assert await sessions.ask_recovery(desk, name, address=address) is None  # type: ignore[func-returns-value]
    assert await done(world, lambda tx: tx.conn.fetchval("select count(*) from recovery")) == before
    await sessions.ask_recovery(desk, "nobody", address=address)
    await done(world, wait_is_long)
    with pytest.raises(Refusal, match="too-many-tries"):
        await sessions.ask_recovery(desk, "nobody", address=address)
