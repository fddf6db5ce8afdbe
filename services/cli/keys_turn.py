"""What `spean keys rotate` does, key by key. Each way is the same: the new one is laid down beside the old one and seen by
everybody, then it is used, and last of all the old one goes."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.cli import bootstrap, installation, pg_tools
from services.cli.client import load_key
from services.intake import main as intake
from services.intake.keystore import store as keystore
from services.intake.keystore.kek import KeyFiles
from services.intake.keystore.rewrap import rewrap
from services.referral import main as referral
from services.referral.partners import handlers, store
from services.referral.people.domain import OPERATOR
from services.referral.sessions.desk import AUTHENTICATORS
from services.referral.sessions.resealing import reseal
from spean.crypto import new_signing_key, public_jwk
from spean.db import Database, plain_errors
from spean.idempotency import KEPT_HOURS
from spean.provision import Roles, make_roles, new_secret, secret_file, service_dsns
from spean.settings import Settings
from spean.turning import SIGNED_S, before, following, forget, found, prepare, private, public_part, turn

# For how long what was made with the old secret of the roles is taken: as long as an answered command is kept.
_SECRET_S = (KEPT_HOURS + 1) * 3_600.0
# Longer than any process needs to write down what it sealed with the key that it read a moment ago.
_STRAGGLERS_S = 1.0


class NotOurs(Exception):
    """The key is not here, or is another account's. The message says what to do; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a key is changed. `lead_s`: between the time when everybody sees the new one and its first use; `leaked`: the old
    one is refused at once; `services`: whose accounts follow from this keys folder; `told` gets sentences, `counted` how
    many of how many."""

    lead_s: float
    leaked: bool
    services: tuple[str, ...]
    told: Callable[[str], None]
    counted: Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Lying:
    """A key's file, since when it lies there (seconds since 1970), and what of a change is not over yet."""

    file: Path
    since: float
    change: str


def _files(settings: Settings) -> Mapping[str, Path]:
    return {
        "network": settings.keys / referral.NAME / "signing.jwk",
        "holder": settings.keys / intake.NAME / "signing.jwk",
        "database": secret_file(settings.keys),
        "postgres": settings.keys / "postgres",
        "administrator": bootstrap.key_file(settings),
    }


def _first_kek(settings: Settings) -> Path:
    return settings.keys / intake.NAME / "kek-1"


def lying(settings: Settings, which: str) -> Iterator[Lying]:
    """The files of one key that are here. Raises OSError, ValueError."""
    if which == "records":
        folder = _first_kek(settings).parent
        files = sorted(folder.glob("kek-*"))
        for file in files:
            yield Lying(file, file.stat().st_mtime, "under way: give the command again" if len(files) > 1 else "")
        return
    path = _files(settings)[which]
    if not path.exists():
        return
    forget(path)
    one, change = found(path), ""
    if one.following is not None:
        change = "under way: give the command again"
    elif one.before is not None:
        change = f"the one before it counts until {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.until))}"
    yield Lying(path, path.stat().st_mtime, change)


def _own(path: Path) -> Path:
    """Raises NotOurs: a file that another account makes is one that the services cannot read."""
    if not path.exists():
        raise NotOurs(f"{path} is not here: set SPEAN_KEYS to the folder that holds it")
    if path.stat().st_uid != os.geteuid():
        raise NotOurs(f"{path} belongs to another account: give the command as that account")
    return path


async def _lead(change: Change) -> None:
    if change.lead_s:
        change.told(f"every process sees the new key now; it is used in {change.lead_s:.0f} s")
        await asyncio.sleep(change.lead_s)


async def _signing(path: Path, change: Change) -> None:
    prepare(_own(path), private(new_signing_key()), leaked=change.leaked)
    await _lead(change)
    turn(path, 0 if change.leaked else SIGNED_S, public_part)


async def network(settings: Settings, change: Change) -> None:
    """What access tokens, sessions, tickets and questions are signed with. Raises NotOurs, StillTurning."""
    await _signing(_files(settings)["network"], change)


async def holder(settings: Settings, change: Change) -> None:
    """What envelopes are signed with, and tokens where the holder is its own issuer. Raises NotOurs, StillTurning."""
    await _signing(_files(settings)["holder"], change)


async def records(settings: Settings, change: Change) -> None:
    """What wraps each person's key. Raises NotOurs, KeysInUse, NotChanged, DatabaseProblem."""
    files = KeyFiles(_first_kek(settings))
    _own(files.file(files.numbers()[0]))
    dsn = pg_tools.cluster_of(settings).dsn(keystore.DATABASE)
    await rewrap(dsn, files, change.lead_s, change.counted)


async def database(settings: Settings, change: Change) -> None:
    """What the accounts' passwords follow from, authenticators are sealed with, and commands are known again by. The old one
    goes last. Raises NotOurs, StillTurning, DatabaseProblem."""
    path = _own(secret_file(settings.keys))
    await _resealed(settings, change)  # of a change that was stopped
    prepare(path, new_secret(), leaked=change.leaked)
    await _lead(change)
    new = found(path).following
    if new is None:
        raise NotOurs(f"somebody else changes {path} just now: try again")
    names = [name for name in installation.BUILD if name in change.services]
    names += [keystore.DATABASE] if intake.NAME in names else []
    names += [] if settings.bus else [installation.BUS_DATABASE]
    with plain_errors("keys.accounts"):
        admin = await asyncpg.connect(pg_tools.cluster_of(settings).dsn("postgres"), timeout=10)
        try:
            async with admin.transaction():
                for name in names:
                    await make_roles(admin, Roles(new), name)
        finally:
            await admin.close()
    turn(path, _SECRET_S)
    await _resealed(settings, change)
    await asyncio.sleep(_STRAGGLERS_S)
    await _resealed(settings, change)
    if change.leaked:
        before(path).unlink(missing_ok=True)


async def _resealed(settings: Settings, change: Change) -> None:
    if referral.NAME in change.services:
        async with _network(settings) as db:
            await reseal(db, Roles.load(settings.keys).keys(AUTHENTICATORS))


async def postgres(settings: Settings, change: Change) -> None:
    """The password of the embedded PostgreSQL's own account: commands and starts need it, nothing that runs does. Raises
    NotOurs, DatabaseProblem."""
    if settings.postgres:
        raise NotOurs("the PostgreSQL of SPEAN_POSTGRES is not ours: change its account's password there")
    path = _own(_files(settings)["postgres"])
    prepare(path, secrets.token_urlsafe(32).encode() + b"\n", leaked=change.leaked)
    new = following(path).read_text(encoding="utf-8").strip()
    server = pg_tools.cluster_of(settings)
    with plain_errors("keys.postgres"):
        try:
            admin = await asyncpg.connect(server.dsn("postgres"), timeout=10)
        except asyncpg.InvalidPasswordError:  # stopped between the two lines below
            admin = await asyncpg.connect(server.dsn("postgres", "postgres", new), timeout=10)
        try:
            # Utility statements take no parameters; the password is letters, digits, - and _.
            await admin.execute(f"alter role postgres password '{new}'")
        finally:
            await admin.close()
    turn(path, 0)


async def administrator(settings: Settings, change: Change) -> None:
    """The key that the administrator's system signs in with. By the operator at the machine, as the first one was made: nobody
    else has to agree. Raises NotOurs, DatabaseProblem."""
    path, client = _own(bootstrap.key_file(settings)), bootstrap.CLIENT
    prepare(path, private(new_signing_key()), leaked=change.leaked)
    old, new = load_key(path), load_key(following(path))
    public = public_jwk(new)
    async with _network(settings) as db:
        async with db.transaction("keys.administrator") as tx:
            known = {key.thumbprint for key in await store.keys_of(tx, client, store.Use.SIGNING)}
            for left in known - {old.thumbprint(), new.thumbprint()}:
                await handlers.revoke_key(tx, OPERATOR.name, client, left)
            if new.thumbprint() not in known:
                await handlers.add_key(tx, OPERATOR.name, client, public)
        turn(path, 0)
        async with db.transaction("keys.administrator_old") as tx:
            await handlers.revoke_key(tx, OPERATOR.name, client, old.thumbprint())


@asynccontextmanager
async def _network(settings: Settings) -> AsyncIterator[Database]:
    """Raises DatabaseProblem."""
    dsns = service_dsns(pg_tools.cluster_of(settings), Roles.load(settings.keys), referral.NAME)
    db = await Database.open(*dsns, api_size=1, worker_size=1)
    try:
        yield db
    finally:
        await db.close()


WORK: Mapping[str, Callable[[Settings, Change], Coroutine[object, object, None]]] = {
    "network": network,
    "holder": holder,
    "records": records,
    "database": database,
    "postgres": postgres,
    "administrator": administrator,
}
