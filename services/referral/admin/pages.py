"""The administrator's beginning: numbers and the next right step, the way from nothing, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from schemas import questions as q
from schemas.vocabulary import ServiceGroup
from services.referral.admin import mail, networks, organisations, places, store, systems
from services.referral.admin.desk import ROOM, Administrator
from services.referral.admin.steps import Step, next_of, steps
from services.referral.approvals import store as approvals
from services.referral.partners import store as partners
from services.referral.partners.changes import What
from spean.ask import Holders, HolderSilent
from spean.web import lists
from spean.web.pages import At, page_router
from spean.web.words import N_

# Pairs of a sender and a house that the holder is asked about: one that works is enough.
_PAIRS_MOST = 5
SAID: Mapping[What, str] = {
    What.ORGANISATION_REGISTERED: N_("registered"),
    What.ORGANISATION_SUSPENDED: N_("suspended"),
    What.ORGANISATION_REINSTATED: N_("reinstated"),
    What.NETWORK_FOUNDED: N_("a network was founded, and coordinates it"),
    What.COORDINATOR_NAMED: N_("coordinates the network from then on"),
    What.MEMBER_JOINED: N_("joined the network"),
    What.PLACE_REGISTERED: N_("places were added"),
    What.SYSTEM_REGISTERED: N_("a system was registered"),
    What.SYSTEM_REVOKED: N_("a system was shut out"),
    What.KEY_ADDED: N_("a second key was added to a system"),
    What.KEY_REVOKED: N_("a key of a system was revoked"),
    What.ACCESS_ASKED: N_("a system or a key is to open records: somebody else has to agree"),
    What.ACCESS_APPROVED: N_("somebody else has agreed to a system or a key"),
    What.ACCESS_REFUSED: N_("a system or a key was refused"),
    What.ACCESS_LAPSED: N_("nobody has agreed to a system or a key in time"),
}
_W = What
ABOUT: Mapping[str, tuple[str, tuple[What, ...]]] = {
    "organisations": (N_("Organisations"),
                      (_W.ORGANISATION_REGISTERED, _W.ORGANISATION_SUSPENDED, _W.ORGANISATION_REINSTATED)),
    "networks": (N_("Networks"), (_W.NETWORK_FOUNDED, _W.COORDINATOR_NAMED, _W.MEMBER_JOINED)),
    "places": (N_("Places"), (_W.PLACE_REGISTERED,)),
    "systems": (N_("Systems"), (_W.SYSTEM_REGISTERED, _W.SYSTEM_REVOKED, _W.KEY_ADDED, _W.KEY_REVOKED, _W.ACCESS_ASKED,
                                _W.ACCESS_APPROVED, _W.ACCESS_REFUSED, _W.ACCESS_LAPSED)),
}  # fmt: skip
router = page_router("administrator's pages")
routers = (router, networks.router, organisations.router, places.router, systems.router)


@router.get("/admin")
async def overview(request: Request, at: Administrator) -> Response:
    """How much there is of everything, what waits, and the next right step."""
    way = await _way(request, at)
    async with at.door.db.transaction("admin.approvals") as tx:
        asked = await approvals.waiting_for(tx)
    untold = await mail.missing(request)
    return at.page(
        f"{ROOM}/overview.html", asked=asked, numbers=way.numbers, next=next_of(way.steps), begun=way.facts.accepted > 0,
        untold=len(untold or ()),
    )  # fmt: skip


@router.get("/admin/first")
async def first_steps(request: Request, at: Administrator) -> Response:
    """The way from nothing to the first accepted referral, each step as the database has it."""
    way = await _way(request, at)
    return at.page(f"{ROOM}/first.html", steps=way.steps, next=next_of(way.steps), network=way.network)


@dataclass(frozen=True, slots=True)
class _Way:
    """How far the newest network has come."""

    numbers: store.Numbers
    network: store.Founded | None
    facts: store.Facts
    steps: list[Step]


async def _way(request: Request, at: At) -> _Way:
    async with at.door.db.transaction("admin.way") as tx:
        numbers = await store.numbers(tx)
        network = await store.newest(tx)
        id_ = network.id if network else None
        facts = await store.facts(tx, id_)
        asked = [
            q.RulesStandQuestion(
                network=network.id, group=ServiceGroup(group), sender=await partners.facts_of(tx, sender),
                recipient=await partners.facts_of(tx, house),
            )
            for sender, house, group in await store.pairs(tx, network.id, _PAIRS_MOST)
        ] if network else []  # fmt: skip
    # Who was accepted was let through by them: then nobody waits for the holder.
    rules = facts.accepted > 0 or await _stand(request, asked)
    return _Way(numbers, network, facts, steps(facts, id_, numbers.organisations - 1, rules=rules))


async def _stand(request: Request, asked: list[q.RulesStandQuestion]) -> bool | None:
    """Does any holder say that its rules let one of these through? None: none says no for certain."""
    holders: Holders = request.app.state.holders
    sure = True
    for holder in holders.names:
        for question in asked:
            try:
                answer = await holders.ask(holder, "rules-stand", question, q.RulesStandAnswer)
            except HolderSilent:
                sure = False
                break
            if answer.stand:
                return True
    return False if sure else None


@router.get("/admin/history")
async def history(
    at: Administrator, about: str = "", organisation: UUID | None = None,
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:  # fmt: skip
    """Who changed what and when, newest first."""
    whats = ABOUT[about][1] if about in ABOUT else ()
    async with at.door.db.transaction("admin.history") as tx:
        found = await store.lines(tx, lists.MOST, whats=whats, organisation=organisation, before=before)
        one = await partners.organisation(tx, organisation) if organisation else None
    more = found[-1].number if len(found) == lists.MOST else None
    return at.page(
        f"{ROOM}/history.html", lines=found, more=more, about=about, kinds=ABOUT, said=SAID, organisation=one
    )
