"""Members of staff for tests: made, set up, signed in; with what they sign in with at hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx
import pyotp

from schemas.rights import StaffRole
from services.cli.client import trusted
from services.cli.installation import Installation
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR, By, Person
from services.referral.people.store import Change, history
from services.referral.sessions import factors, handlers
from services.referral.sessions.desk import Desk
from services.referral.sessions.handlers import Opened
from spean.db import Database, Tx
from spean.web.visitor import Visitor

PASSWORD = "seven grey herons at dusk"


def desk_of(made: Installation) -> Desk:
    desk: Desk = made.services["referral"].app.state.desk
    return desk


def new_address() -> str:
    """An address of the internet, of a site of its own: tests do not delay each other. Nothing is ever sent there."""
    site = uuid4().hex
    return f"2620:{site[:4]}:{site[4:8]}:{site[8:12]}::1"


@dataclass
class Member:
    """A person with the password and authenticator that they chose."""

    desk: Desk
    person: Person
    password: str = PASSWORD
    secret: str = ""
    address: str = field(default_factory=new_address)

    @property
    def id(self) -> UUID:
        return self.person.id

    @property
    def by(self) -> By:
        return By(self.person.id, self.person.organisation)

    def code(self, aside: int = 0) -> str:
        """The authenticator's code now, or some time steps later."""
        return pyotp.TOTP(self.secret).at(int(time.time()), counter_offset=aside)

    async def step(self, password: str | None = None, *, mark: str = "") -> str:
        """The opener of the second step."""
        return await handlers.try_password(
            self.desk,
            self.person.sign_in_name,
            self.password if password is None else password,
            address=self.address,
            mark=mark,
        )

    async def signs_in(self, *, before: str = "") -> Opened:
        """With name, password and a code that was not used yet (the authenticator is made to forget which were)."""
        await self.forget_codes()
        return await handlers.try_code(self.desk, await self.step(), self.code(), before=before)

    async def forget_codes(self) -> None:
        async with self.desk.db.transaction("test") as tx:
            await tx.conn.execute("update authenticator set last_step = 0 where person = $1", self.id)

    async def visitor(self, opened: Opened) -> Visitor:
        return await self.visitor_of(opened.cookie)

    async def visitor_of(self, cookie: str) -> Visitor:
        found = await handlers.find_visitor(self.desk.db)(cookie)
        assert found is not None
        return found

    async def history(self) -> list[Change]:
        async with self.desk.db.transaction("test") as tx:
            return await history(tx, 100, person=self.id)

    async def whats(self) -> list[str]:
        """What the history says, newest first."""
        return [str(one.what) for one in await self.history()]


async def hired(made: Installation, organisation: str, *roles: StaffRole, by: By = OPERATOR, name: str = "",
                language: str = "en") -> Person:  # fmt: skip
    """Registered, cannot sign in yet."""
    desk = desk_of(made)
    async with desk.db.transaction("test.hire") as tx:
        return await people.register(
            tx, by, UUID(organisation), "Made Up", name or f"made.up-{uuid4().hex[:12]}", language,
            frozenset(roles or (StaffRole.RECEIVER,)),
        )  # fmt: skip


async def invited(made: Installation, person: Person, by: By = OPERATOR) -> str:
    desk = desk_of(made)
    async with desk.db.transaction("test.invite") as tx:
        return await people.invite(tx, desk.sealing, by, person.id)


async def set_up(made: Installation, person: Person, opener: str | None = None) -> tuple[Member, Opened]:
    """With a password and an authenticator; signed in."""
    opener = opener or await invited(made, person)
    _, authenticator = await factors.look_at_invite(desk_of(made), opener)
    member = Member(desk_of(made), person, secret=authenticator.secret)
    return member, await factors.set_up_password(member.desk, opener, member.password, member.code())


async def member(made: Installation, organisation: str, *roles: StaffRole) -> Member:
    found, _ = await set_up(made, await hired(made, organisation, *roles))
    return found


async def alive(db: Database, cookie: str) -> bool:
    return await handlers.find_visitor(db)(cookie) is not None


async def wait_is_over(tx: Tx) -> None:
    """Whoever has to wait after wrong tries has waited."""
    await tx.conn.execute("update tries set until = null")


async def wait_is_long(tx: Tx) -> None:
    """Whoever has to wait since a moment ago waits a minute: the shortest wait is over before a slow machine looks."""
    await tx.conn.execute(
        "update tries set until = now() + interval '1 minute' where until > last_at and until > now() - interval '1 minute'"
    )


async def exchange(made: Installation, cookie: str, audience: str, **more: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=made.url, timeout=15, verify=trusted()) as client:
        return await client.post(
            "/referral/sessions/exchange", json={"session": cookie, "audience": audience}, headers=more
        )
