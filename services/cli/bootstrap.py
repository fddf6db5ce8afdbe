"""The first credential of an installation: an administrator's system, made where there is none, its key in a file."""

from __future__ import annotations

from pathlib import Path

from joserfc.jwk import OKPKey

from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli.client import kept_key
from services.referral.partners import handlers, store
from services.referral.partners.store import Client, Organisation
from spean.db import Database
from spean.ids import opaque_id
from spean.settings import Settings

CLIENT = "administrator"
SCOPES = frozenset({"referral:admin", "intake:rules", "notify:admin"})


def key_file(settings: Settings) -> Path:
    return settings.keys / "clients" / f"{CLIENT}.jwk"


async def administrator(db: Database, settings: Settings) -> OKPKey:
    """The administrator's key; the organisation that runs the installation and its client are registered once."""
    key = kept_key(key_file(settings))
    async with db.transaction("bootstrap") as tx:
        if await store.active_client(tx, CLIENT) is None:
            operator = Organisation(
                id=opaque_id(), name="Operator of this installation", type=OrganisationType.COORDINATION,
                country=settings.country, law_enforcement=False, status=OrganisationStatus.ACTIVE, sample=False, version=1,
            )  # fmt: skip
            await handlers.register(tx, operator)
            public = {name: str(value) for name, value in key.as_dict(private=False).items()}
            await handlers.register_client(tx, Client(CLIENT, operator.id, public, SCOPES))
    return key
