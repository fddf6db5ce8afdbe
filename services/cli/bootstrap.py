"""The first credential of an installation: an administrator's system, made where there is none, its key in a file.
And where the installation answers, kept beside it for the other commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from joserfc.jwk import OKPKey

from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli.client import kept_key
from services.referral.partners import handlers, store
from services.referral.partners.store import Organisation
from services.referral.people.domain import OPERATOR
from spean.crypto import public_jwk
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.problem import Refusal
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

    Where the network knows no key of the administrator's any more (the one that it knew was revoked in a time that was
    forgotten), it takes the one in the keys folder, as it did the first. Raises OtherKeys where it knows another, or knows
    that this one was revoked.
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
        elif not known.public_keys:
            await _taken_anew(tx, settings, public)
        elif not any(one["x"] == public["x"] for one in known.public_keys):
            raise OtherKeys(
                f"the keys in {settings.keys} belong to another installation: restore the keys of this data"
            )
    return key


async def _taken_anew(tx: Tx, settings: Settings, public: Mapping[str, str]) -> None:
    try:
        await handlers.add_key(tx, OPERATOR.name, CLIENT, public)
    except Refusal:
        raise OtherKeys(
            f"the key in {key_file(settings)} was revoked: put today's there, or move it away, and a new one is made"
        ) from None


async def operator(db: Database) -> UUID:
    """The organisation that runs this installation: what tells it from every other. Only after `administrator`."""
    async with db.transaction("bootstrap.operator") as tx:
        known = await store.active_client(tx, CLIENT)
    if known is None:
        raise OtherKeys("this installation has no administrator yet")
    return known.organisation
