"""People as the operator makes them at the command line: the staff of the sample network, and the first administrator."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import typer

from schemas.rights import StaffRole
from services.cli import bootstrap
from services.cli.connected import Connected, connected
from services.cli.sample import Sample
from services.referral import main as referral
from services.referral.people import handlers, store
from services.referral.people.domain import OPERATOR, Status
from services.referral.sessions.desk import Desk
from spean.comparable import comparable
from spean.db import Database, Tx
from spean.problem import Refusal
from spean.provision import Roles
from spean.settings import Settings

FIRST = "administrator"
SIGN_IN_PAGE, SET_UP_PAGE = "/referral/pages/link", "/referral/pages/set-up"


class NoLink(Exception):
    """There is no such link to be had. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Known:
    """A made-up member of staff; `at` is the organisation's key in the sample network."""

    sign_in_name: str
    name: str
    at: str
    role: StaffRole


SAMPLE = (
    Known("border-post", "Dara (sample)", "kh-poipet", StaffRole.SENDER),
    Known("border-post-2", "Kosal (sample)", "kh-poipet", StaffRole.SENDER),
    Known("officer", "Chenda (sample)", "kh-poipet", StaffRole.OFFICER),
    Known("shelter-girls", "Sreymom (sample)", "kh-jasmine", StaffRole.RECEIVER),
    Known("shelter-women", "Bopha (sample)", "kh-lotus", StaffRole.RECEIVER),
    Known("coordinator", "Vanna (sample)", "kh-desk", StaffRole.COORDINATOR),
    Known("sample-administrator", "Rithy (sample)", "kh-desk", StaffRole.ADMINISTRATOR),
)


async def hire_sample(db: Database, loaded: Sample) -> None:
    """The staff of the sample network, once: who is there already, or has left since, is left alone."""
    async with db.transaction("sample.people") as tx:
        await _alone(tx)
        for known in SAMPLE:
            if await store.find(tx, known.sign_in_name) is None:
                employer = loaded.organisations[known.at].id
                roles = frozenset({known.role})
                with contextlib.suppress(Refusal):  # an organisation that was suspended takes nobody on
                    await handlers.register(tx, OPERATOR, employer, known.name, known.sign_in_name, "en", roles)


async def _alone(tx: Tx) -> None:
    """Two starts at once do not both register somebody."""
    await tx.conn.execute("select pg_advisory_xact_lock(hashtextextended('people', 0))")


async def sample_links(db: Database, url: str) -> list[tuple[Known, str]]:
    """A fresh one-time link for each of the sample's staff who may sign in."""
    found: list[tuple[Known, str]] = []
    async with db.transaction("sample.links") as tx:
        for known in SAMPLE:
            person = await store.find(tx, known.sign_in_name)
            if person is not None and await store.is_sample(tx, person.id) and await store.may_sign_in(tx, person.id):
                opener = await handlers.sign_in_link(tx, OPERATOR, known.sign_in_name)
                found.append((known, f"{url}{SIGN_IN_PAGE}/{opener}"))
    return found


async def first_administrator(db: Database, desk: Desk, url: str) -> str | None:
    """A link with which the installation's first administrator sets up how to sign in; None where there is one who has.
    Raises NoLink where that name is not to be had."""
    operator = await bootstrap.operator(db)
    async with db.transaction("bootstrap.person") as tx:
        people = await store.listed(tx, [id_ for id_, _ in await store.names(tx, operator)])
        if any(one.set_up and StaffRole.ADMINISTRATOR in one.person.roles for one in people):
            return None
        return url + await _administrator(tx, desk, operator, FIRST)


async def _administrator(tx: Tx, desk: Desk, operator: UUID, name: str) -> str:
    """The path of a set-up link for an administrator of this name, who is registered where there is none. Raises NoLink."""
    await _alone(tx)
    person = await store.find(tx, comparable(name))
    try:
        if person is None:
            roles = frozenset({StaffRole.ADMINISTRATOR})
            person = await handlers.register(tx, OPERATOR, operator, name, name, "en", roles)
        elif person.organisation != operator or person.status is not Status.ACTIVE:
            raise NoLink(
                f"{name} is somebody else's sign-in name, or of somebody who is locked or has left: choose another"
            )
        return f"{SET_UP_PAGE}/{await handlers.invite(tx, desk.sealing, OPERATOR, person.id)}"
    except Refusal as refusal:
        if refusal.code == "state":
            raise NoLink(f"{name} can sign in already: make another administrator, under another name") from None
        raise NoLink(
            "a sign-in name has 3 to 60 letters, digits or . - _ @ and begins with a letter or digit"
        ) from None


def _network(found: Connected) -> Database:
    """Raises NoLink."""
    if referral.NAME not in found.databases:
        raise NoLink("people sign in at the network, which does not run here")
    return found.databases[referral.NAME]


def sign_in_link(name: Annotated[str, typer.Argument(help="sign-in name, such as border-post")]) -> None:
    """Print a one-time link that signs a member of the sample network's staff in (60 min; on this machine only)."""
    settings = Settings()
    if not settings.local:
        raise NoLink(
            "one-time links are for an installation that is reached from its own machine alone: send an invite"
        )
    typer.echo(asyncio.run(_sign_in_link(settings, name)))


async def _sign_in_link(settings: Settings, name: str) -> str:
    async with connected(settings) as found:
        db = _network(found)
        try:
            async with db.transaction("sign-in-link") as tx:
                opener = await handlers.sign_in_link(tx, OPERATOR, comparable(name))
        except Refusal:
            names = ", ".join(known.sign_in_name for known in SAMPLE)
            raise NoLink(f"nobody of the sample network has that sign-in name: try one of {names}") from None
        return f"{found.parts.url}{SIGN_IN_PAGE}/{opener}"


def administrator(name: Annotated[str, typer.Argument(help="sign-in name of the new administrator")] = FIRST) -> None:
    """Make an administrator of this installation and print the link to set up how to sign in (72 h, once)."""
    typer.echo(asyncio.run(_make_administrator(Settings(), name)))


async def _make_administrator(settings: Settings, name: str) -> str:
    async with connected(settings) as found:
        db = _network(found)
        desk = Desk.opened(db, Roles.load(settings.keys), found.parts.url, local=settings.local)
        operator = await bootstrap.operator(db)
        async with db.transaction("administrator") as tx:
            path = await _administrator(tx, desk, operator, name)
        return found.parts.url + path
