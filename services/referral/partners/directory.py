"""Who is in a visitor's networks, by name: for the pages of other services, which know organisations by id only. The
directory has no address in it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from schemas.questions import OrganisationFacts
from services.referral.partners import store
from spean.http import View
from spean.web.pages import At, at_with, page_router

_NETWORKS_MOST = 1_000
# Their work is about every network of the installation.
_EVERYWHERE = frozenset({"intake:rules", "referral:admin"})
router = page_router("directory")


class Listed(View):
    name: str
    sample: bool
    facts: OrganisationFacts
    networks: tuple[UUID, ...]


class ListedNetwork(View):
    id: UUID
    name: str


class DirectoryView(View):
    organisations: tuple[Listed, ...]
    networks: tuple[ListedNetwork, ...]


@router.get("/directory")
async def directory(at: Annotated[At, Depends(at_with())]) -> DirectoryView:
    """The organisations of every network that the visitor's organisation is in, with what the network vouches for; who
    reviews rules or administers sees every network."""
    async with at.door.db.transaction("directory.read") as tx:
        every = {row["id"]: row["name"] for row in await store.networks(tx, _NETWORKS_MOST)}
        seen = every.keys() if at.who.scopes & _EVERYWHERE else at.who.networks & every.keys()
        found = await store.members_of(tx, seen)
        within = await store.memberships(tx, seen)
        serves = await store.serves(tx, [one.id for one in found])
    return DirectoryView(organisations=tuple(
        Listed(name=one.name, sample=one.sample, facts=OrganisationFacts(
            organisation=one.id, type=one.type, country=one.country, law_enforcement=one.law_enforcement,
            status=one.status, serves=serves.get(one.id),
        ), networks=tuple(within[one.id]))
        for one in found
    ), networks=tuple(ListedNetwork(id=id_, name=name) for id_, name in every.items() if id_ in seen))  # fmt: skip
