"""Who is in a visitor's networks, by name: for the pages of other services, which know organisations by id only. The
directory has no address in it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from schemas.questions import OrganisationFacts
from services.referral.partners import store
from spean.http import View
from spean.web.pages import At, at_with, page_router

router = page_router("directory")


class Listed(View):
    name: str
    sample: bool
    facts: OrganisationFacts


class DirectoryView(View):
    organisations: tuple[Listed, ...]


@router.get("/directory")
async def directory(request: Request, at: Annotated[At, Depends(at_with())]) -> DirectoryView:
    """The organisations of every network that the visitor's organisation is in, with what the network vouches for."""
    networks: frozenset[UUID] = at.who.networks
    async with request.app.state.door.db.transaction("directory.read") as tx:
        found = await store.members_of(tx, networks)
    return DirectoryView(organisations=tuple(
        Listed(name=one.name, sample=one.sample, facts=OrganisationFacts(
            organisation=one.id, type=one.type, country=one.country, law_enforcement=one.law_enforcement,
            status=one.status,
        ))
        for one in found
    ))  # fmt: skip
