"""The first credential of an installation: an administrator's system, made where there is none, its key in a file.
And where the installation answers, kept beside it for the other commands."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from joserfc.jwk import OKPKey

from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli.client import kept_key
from services.referral.partners import handlers, store
from services.referral.partners.store import Organisation
from services.referral.people.domain import OPERATOR
from spean.crypto import public_jwk
from spean.db import Database
from spean.ids import opaque_id
from spean.settings import Settings

CLIENT = handlers.OPERATOR_CLIENT
SCOPES = frozenset({"referral:admin", "intake:rules", "notify:admin"})


class OtherKeys(Exception):
    """The keys folder belongs to another installation than the data. The message says what to do."""


def key_file(settings: Settings, client: str = CLIENT) -> Path:
    return settings.keys / "clients" / f"{client}.jwk"


def address_file(settings: Settings) -> Path:
    return settings.keys / "address"


def address(settings: Settings) -> str:
    """Where this installation answers: `SPEAN_URL`, or where `spean up` last said that it listens."""
    if settings.url:
        return settings.url
    try:
        return address_file(settings).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return f"http://{settings.host}:{settings.port}"


async def administrator(db: Database, settings: Settings) -> OKPKey:
    """The administrator's key; the organisation that runs the installation and its client are registered once.

    Raises OtherKeys where the network knows the administrator by another key.
    """
    key = kept_key(key_file(settings))
    public = public_jwk(key)
    async with db.transaction("bootstrap") as tx:
        await tx.conn.execute("select pg_advisory_xact_lock(hashtextextended('bootstrap', 0))")
        known = await store.active_client(tx, CLIENT)
        if known is None:
            operator = Organisation(
                id=opaque_id(), name="Operator of this installation", type=OrganisationType.COORDINATION,
                country=settings.country, law_enforcement=False, status=OrganisationStatus.ACTIVE, sample=False, version=1,
            )  # fmt: skip
            await handlers.register(tx, OPERATOR.name, operator)
            await handlers.register_client(tx, OPERATOR.name, CLIENT, operator.id, public, SCOPES)
        elif not any(one["x"] == public["x"] for one in known.public_keys):
            raise OtherKeys(
                f"the keys in {settings.keys} belong to another installation: restore the keys of this data"
            )
    return key


async def operator(db: Database) -> UUID:
    """The organisation that runs this installation: what tells it from every other. Only after `administrator`."""
    async with db.transaction("bootstrap.operator") as tx:
        known = await store.active_client(tx, CLIENT)
    if known is None:
        raise OtherKeys("this installation has no administrator yet")
    return known.organisation
