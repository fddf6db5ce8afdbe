"""Organisations: found, registered, suspended, reinstated. What a suspension does is said before it is done."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request, Response

from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.referral.admin import mail, store
from services.referral.admin.desk import ORGANISATIONS_MOST, ROOM, Administrator, AdministratorSent
from services.referral.partners import api
from services.referral.partners import store as partners
from services.referral.partners.handlers import SUSPENDED_LEAST_S
from services.referral.people import store as people
from services.referral.places import store as places
from spean.web import forms, lists
from spean.web.forms import Incomplete
from spean.web.lists import Typed
from spean.web.pages import At, id_in, page_router
from spean.web.words import ZONES

LIST = "/referral/pages/admin/organisations"
router = page_router("administrator's pages")
_TYPES = [one for one in OrganisationType if one is not OrganisationType.UNKNOWN]


@router.get("/admin/organisations")
async def list_organisations(at: Administrator, q: Typed = "", state: str = "", after: UUID | None = None) -> Response:
    """By parts of the name, however they were typed, and by state."""
    async with at.door.db.transaction("admin.organisations") as tx:
        every = await partners.organisations(tx, ORGANISATIONS_MOST)
    found = {one.id: one for one in every if state in {"", one.status.value}}
    part = lists.part([(one.id, (one.name,)) for one in found.values()], q=q, after=after)
    return at.page(f"{ROOM}/organisations.html", part=part, found=[found[id_] for id_ in part.ids], state=state)


@router.get("/admin/organisations/new")
async def new_organisation(at: Administrator) -> Response:
    return at.page(f"{ROOM}/organisation_new.html", types=_TYPES, countries=list(ZONES))


@router.post("/admin/organisations/new")
async def register(sent: AdministratorSent) -> Response:
    """A second click leads to the same organisation."""
    form = sent.form
    answers = {name: form.some(name) for name in ("name", "type", "country")}
    try:
        given = {**answers, "law_enforcement": bool(form.one("law_enforcement")), "sample": sent.who.sample}
        body = forms.read(api.OrganisationBody, given)
        made = await api.register_organisation(body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/organisation_new.html", error, form, types=_TYPES, countries=list(ZONES))
    return sent.see(f"{LIST}/{id_in(made)}", done="registered")


@router.get("/admin/organisations/{organisation}")
async def one_organisation(request: Request, organisation: UUID, at: Administrator) -> Response:
    async with at.door.db.transaction("admin.organisation") as tx:
        one = await partners.organisation(tx, organisation)
        staff = lists.part(await people.names(tx, organisation))
        theirs = lists.part([(id_, (id_,)) for id_, _ in await partners.names_of_systems(tx, organisation)])
        found: dict[str, Any] = {
            "networks": await store.networks_of(tx, organisation), "places": await places.places_of(tx, organisation),
            "people": await people.listed(tx, staff.ids), "staff": staff,
            "systems": await partners.systems(tx, lists.MOST, theirs.ids), "theirs": theirs,
        }  # fmt: skip
    suspended = one.status is OrganisationStatus.SUSPENDED
    untold = organisation in (await mail.missing(request) or ())
    return at.page(f"{ROOM}/organisation.html", one=one, suspended=suspended, untold=untold, **found)


async def _facing(at: At, organisation: UUID) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    async with at.door.db.transaction("admin.suspension") as tx:
        one = await partners.organisation(tx, organisation)
        return {
            "one": one, "work": await store.work_of(tx, organisation),
            "lately": not await partners.suspended_for(tx, organisation, SUSPENDED_LEAST_S),
            "minutes": SUSPENDED_LEAST_S // 60,
        }  # fmt: skip


@router.get("/admin/organisations/{organisation}/suspend")
async def before_suspending(organisation: UUID, at: Administrator) -> Response:
    """What would happen."""
    return at.page(f"{ROOM}/suspend.html", **await _facing(at, organisation))


@router.post("/admin/organisations/{organisation}/suspend")
async def suspend(organisation: UUID, sent: AdministratorSent) -> Response:
    await api.suspend_organisation(organisation, sent.command())
    return sent.see(f"{LIST}/{organisation}", done="suspended")


@router.get("/admin/organisations/{organisation}/reinstate")
async def before_reinstating(organisation: UUID, at: Administrator) -> Response:
    return at.page(f"{ROOM}/reinstate.html", **await _facing(at, organisation))


@router.post("/admin/organisations/{organisation}/reinstate")
async def reinstate(organisation: UUID, sent: AdministratorSent) -> Response:
    await api.reinstate_organisation(organisation, sent.command())
    return sent.see(f"{LIST}/{organisation}", done="reinstated")
