"""`spean holder`: a second holder, of another organisation or in another country: made, served, and whom it lets write."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from uuid import UUID

import httpx
import typer
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from rich.console import Console

from schemas.questions import OrganisationFacts
from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli import bootstrap, holder_files
from services.cli.client import kept_key, trusted
from services.cli.connected import NotRunning, cluster_of
from services.cli.holder_files import NotAdded, Plan, Wanted
from services.cli.serve import Name, migrated, served
from services.cli.up import until_told
from services.intake import main as intake
from services.intake.issuing import handlers, store
from services.intake.issuing.store import System
from spean.ask import certificate_refused
from spean.crypto import public_jwk
from spean.db import Database, DatabaseProblem
from spean.problem import Refusal
from spean.provision import Roles, service_dsns
from spean.service import ROLES
from spean.settings import Settings
from spean.telemetry import set_up_logs

# For one answer, where `list` asks.
_PATIENCE_S = 5.0
ANSWERS = "answers"
_UNTRUSTED = "shows a certificate that this machine does not trust (docs/many-machines.md)"
_SYSTEM = re.compile(r"[a-z0-9-]{1,80}")
app = typer.Typer(no_args_is_help=True, help="A second holder: its own database, keys and issuer.")
At = Annotated[str, typer.Option("--at", help="the holder's name; default: the one of the environment's settings")]
Folder = Annotated[Path | None, typer.Option(help="its folder, where it is not in its usual place")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="small letters, digits, hyphens; for good")],
    country: Annotated[str, typer.Option(help="the country that it is in, such as TH")],
    url: Annotated[str, typer.Option(help="where partners reach it, such as https://sister.example.net")],
    network: Annotated[str, typer.Option(help="the network's address; default: the one of this machine")] = "",
    issuer: Annotated[str, typer.Option(help="who vouches for its senders; default: itself")] = "",
    postgres: Annotated[str, typer.Option(help="a PostgreSQL at an address; default: one of its own")] = "",
    folder: Annotated[Path | None, typer.Option(help="for its data, keys and settings; empty or not there yet")] = None,
) -> None:
    """Make everything that a second holder needs: a folder with keys and settings of its own. Where the network runs on this
    machine, it knows of it from its next start."""
    settings = Settings()
    plan = holder_files.planned(settings, Wanted(name, country, url, network, issuer, postgres, folder))
    _tell(plan, settings, here=holder_files.write(settings, plan))


def _tell(plan: Plan, settings: Settings, *, here: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    own = plan.values["SPEAN_ISSUER"] == plan.holders[plan.name]
    told = "" if plan.folder == holder_files.folder_of(settings, plan.name) else f" --folder {plan.folder}"
    console.print(
        f"[bold green]{plan.name}[/] is made: a holder in {plan.values['SPEAN_COUNTRY']}, at {plan.holders[plan.name]}"
    )
    console.print(
        f"  settings {plan.file}  (with the bus's address and password: private, and never in a backup of data)"
    )
    console.print(
        "  issuer   " + ("itself: nobody writes there whom it has not admitted" if own else plan.values["SPEAN_ISSUER"])
    )
    again = "stop the network and start it again: it knows of it from then on (make up)"
    if not here:
        again = f"at the network, and at every other holder, then start them again:\n       SPEAN_HOLDERS='{json.dumps(plan.holders)}'"
    console.print(f"Next:\n  1. {again}")
    if plan.values["SPEAN_BUS"].startswith("kafka"):
        console.print(
            f"     before that, spean topics apply: its topic, and an account spean-intake-{plan.name} (docs/kafka.md)"
        )
    console.print(f"  2. .venv/bin/spean holder serve {plan.name}{told}")
    if own:
        console.print(
            f"  3. .venv/bin/spean holder admit SYSTEM --at {plan.name}{told} …  who may write there, who its rules"
        )
    console.print("Then: docs/many-machines.md, “A second holder”.")


def settings_of(name: str, folder: Path | None) -> Settings:
    """Those of the holder of this name, or in this folder; with neither the environment's. Raises NotAdded, WrongSettings."""
    if not name and folder is None:
        return Settings()
    here = folder or holder_files.folder_of(Settings(), name)
    found = holder_files.settings_in(here.expanduser().absolute())
    if name and found.holder != name:
        raise NotAdded(f"the holder in {here} has another name than {name}")
    return found


@app.command("list")
def list_() -> None:
    """Every holder that this machine's settings know of: name, address, and whether it answers."""
    settings = Settings()
    holders = settings.holders or {settings.holder: f"{bootstrap.address(settings)}/{intake.NAME}"}
    answers = asyncio.run(asked(list(holders.values())))
    for name, address in sorted(holders.items()):
        made = holder_files.is_made(holder_files.folder_of(settings, name))
        typer.echo(f"{name}  {address}  {answers[address]}" + ("  (its folder is on this machine)" if made else ""))


async def asked(addresses: Iterable[str]) -> dict[str, str]:
    """Address → how it answers from this machine; `ANSWERS`, where it does."""
    known = list(addresses)
    async with httpx.AsyncClient(timeout=_PATIENCE_S, verify=trusted()) as client:
        said = await asyncio.gather(*(_answer(client, address) for address in known))
    return dict(zip(known, said, strict=True))


async def _answer(client: httpx.AsyncClient, address: str) -> str:
    try:
        reply = await client.get(f"{address}/.well-known/jwks.json")
    except httpx.TransportError as error:
        return _UNTRUSTED if certificate_refused(error) else "does not answer"
    return ANSWERS if reply.status_code == HTTPStatus.OK else f"is no holder's: {reply.status_code}"


@app.command()
def serve(
    name: Annotated[str, typer.Argument(help="the holder's name")],
    folder: Folder = None,
    member: Annotated[str, typer.Option(help="this instance's name among its equals")] = "",
) -> None:
    """Run a second holder on this machine, all its roles, until Ctrl-C. Its database is made or brought up to date before."""
    set_up_logs("INFO")
    until_told(_serve(settings_of(name, folder), member or socket.gethostname()))


async def _serve(settings: Settings, member: str) -> None:
    await migrated(settings, [Name.INTAKE])
    typer.echo(
        f"{settings.holder}: partners reach it at {settings.holders.get(settings.holder, settings.url)}; it listens at "
        f"{settings.host}:{settings.port}"
    )
    await served(settings, [Name.INTAKE], list(ROLES), member)


# --- who may write there ----------------------------------------------------------------------------------------------


@app.command()
def admit(
    system: Annotated[str, typer.Argument(help="its name: small letters, digits, hyphens; good once")],
    organisation: Annotated[UUID, typer.Option(help="whose it is: the organisation's id at the network")],
    type_: Annotated[OrganisationType, typer.Option("--type", help="what that organisation is")],
    country: Annotated[str, typer.Option(help="its country, such as TH")],
    scope: Annotated[list[str], typer.Option(help="intake:send, intake:rules; may be given several times")],
    network: Annotated[list[UUID] | None, typer.Option(help="a network that it may ask in; several times")] = None,
    law_enforcement: Annotated[bool, typer.Option("--law-enforcement", help="police and the like")] = False,
    key: Annotated[Path | None, typer.Option(help="its public key (JWK); default: a pair is made here")] = None,
    at: At = "",
    folder: Folder = None,
) -> None:
    """Let a system write at a holder that is its own issuer. From then on it gets tokens there with its key. Run where the
    holder runs: by its operator, and by nobody at the network."""
    settings = settings_of(at, folder)
    _expect_own_issuer(settings)
    if not _SYSTEM.fullmatch(system):
        raise NotAdded("a system's name has at most 80 small letters, digits and hyphens")
    holder_files.expect_country(country)
    public, made = _public(settings, system, key)
    facts = OrganisationFacts(
        organisation=organisation, type=type_, country=country, law_enforcement=law_enforcement,
        status=OrganisationStatus.ACTIVE,
    )  # fmt: skip
    asyncio.run(admitted(settings, System(system, facts, frozenset(network or ()), frozenset(scope), public)))
    address = settings.holders[settings.holder]
    typer.echo(f"{system} gets tokens at {address}/oauth/token" + (f", with the key in {made}" if made else ""))


async def admitted(settings: Settings, one: System) -> None:
    """Raises NotAdded, NotRunning."""
    async with database(settings) as db:
        try:
            async with db.transaction("holder.admit") as tx:
                await handlers.admit(tx, one)
        except Refusal as refusal:
            raise NotAdded(
                f"there is a system {one.id} already, or was one: choose another name" if refusal.code == "duplicate"
                else f"a holder gives {' and '.join(sorted(handlers.SCOPES))}, nothing else"
            ) from None  # fmt: skip


@app.command()
def dismiss(system: Annotated[str, typer.Argument(help="its name")], at: At = "", folder: Folder = None) -> None:
    """Shut a system out for good (tokens that it has got live five minutes at most)."""
    asyncio.run(_dismiss(settings_of(at, folder), system))


async def _dismiss(settings: Settings, system: str) -> None:
    async with database(settings) as db:
        try:
            async with db.transaction("holder.dismiss") as tx:
                await handlers.dismiss(tx, system)
        except Refusal:
            raise NotAdded(f"no system {system} gets tokens there: see spean holder systems") from None


@app.command()
def systems(at: At = "", folder: Folder = None) -> None:
    """Who may write at a holder that is its own issuer: name, organisation, scopes."""
    for one in asyncio.run(_systems(settings_of(at, folder))):
        ended = "  (dismissed)" if one.ended_at else ""
        typer.echo(f"{one.id}  {one.facts.type} {one.facts.organisation}  {' '.join(sorted(one.scopes))}{ended}")


async def _systems(settings: Settings) -> list[System]:
    async with database(settings) as db, db.transaction("holder.systems") as tx:
        return await store.listed(tx)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The holder's, which has to be there: served at least once, and running where its PostgreSQL is embedded. Raises
    NotRunning."""
    if not (settings.keys / "database-roles").exists():
        raise NotRunning(f"{settings.keys} holds no keys of a holder: run spean holder serve once, or set SPEAN_KEYS")
    dsns = service_dsns(cluster_of(settings), Roles.load(settings.keys), intake.NAME)
    try:
        db = await Database.open(*dsns, api_size=1, worker_size=1)
    except DatabaseProblem as problem:
        if not problem.server:
            raise
        raise NotRunning(f"the holder {settings.holder} does not run: start it (spean holder serve)") from None
    try:
        yield db
    finally:
        await db.close()


def _expect_own_issuer(settings: Settings) -> None:
    """Raises NotAdded."""
    if settings.issuer != settings.holders.get(settings.holder, ""):
        raise NotAdded(
            "this holder takes the word of another issuer (SPEAN_ISSUER): systems are registered there; or name the holder with --at"
        )


def _public(settings: Settings, system: str, key: Path | None) -> tuple[dict[str, str], Path | None]:
    """The public half, and where a pair was made for it. Raises NotAdded."""
    try:
        made = None if key else bootstrap.key_file(settings, system)
        given = OKPKey.import_key(json.loads(key.read_text(encoding="utf-8"))) if key else kept_key(made or Path())
    except (OSError, JoseError, ValueError, KeyError, TypeError):
        raise NotAdded("--key names no file with an Ed25519 public key as JWK") from None
    public = public_jwk(given)
    if public.get("crv") != "Ed25519":
        raise NotAdded("--key names no file with an Ed25519 public key as JWK")
    return public, made
