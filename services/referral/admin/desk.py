"""What the administrator's pages have in common: who may, what they read from, how a refusal is said at its field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from schemas.vocabulary import OrganisationStatus
from services.referral.partners import store as partners
from services.referral.partners.api import SCOPE
from services.referral.partners.store import Organisation
from spean.db import Database, Tx
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Incomplete
from spean.web.pages import At, Sent, at_with, sent_with

ROOM = "referral/admin"
# More than a list on a page is good for; whoever has more searches.
ORGANISATIONS_MOST = 10_000
Administrator = Annotated[At, Depends(at_with(SCOPE))]
AdministratorSent = Annotated[Sent, Depends(sent_with(SCOPE))]


def database(at: At) -> Database:
    return at.door.db


def id_in(made: Response) -> UUID:
    """The id that a command has answered with."""
    return UUID(json.loads(bytes(made.body))["id"])


def at_field(refusal: Refusal, about: Mapping[str, str]) -> Incomplete:
    """A refusal at the field that it is about (code → field). Raises the refusal where it is about none."""
    if refusal.code not in about:
        raise refusal
    return Incomplete({about[refusal.code]: forms.said_of(refusal)})


async def active(tx: Tx) -> list[Organisation]:
    """Organisations to choose from, by name."""
    every = await partners.organisations(tx, ORGANISATIONS_MOST)
    return [one for one in every if one.status is OrganisationStatus.ACTIVE]
