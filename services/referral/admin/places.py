"""Places: pools of equal ones at an organisation. First what kind of service, then how many and for whom."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response
from pydantic import Field

from schemas.questions import Eligibility
from schemas.vocabulary import GROUP_OF, Need, ServiceGroup, ServiceType, Sex
from services.referral.admin import store
from services.referral.admin.desk import ROOM, Administrator, AdministratorSent
from services.referral.partners import api
from services.referral.partners import store as partners
from services.referral.places import store as pools
from spean.geography import areas_of
from spean.http import Body
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import SAID, Incomplete
from spean.web.lists import Typed
from spean.web.pages import At, page_router
from spean.web.words import N_

router = page_router("administrator's pages")
_GROUPS = [one for one in ServiceGroup if one in GROUP_OF.values()]
Age = Annotated[int, Field(ge=0, le=150)]


class PlaceForm(Body):
    network: UUID
    service_types: Annotated[tuple[ServiceType, ...], Field(min_length=1, max_length=20)]
    area: str
    usable: Annotated[int, Field(ge=0, le=10_000)]
    sexes: tuple[Sex, ...] = ()
    min_age: Age = 0
    max_age: Age = 150
    needs: tuple[Need, ...] = ()


@router.get("/admin/places")
async def list_places(at: Administrator, q: Typed = "", after: UUID | None = None) -> Response:
    """The members of every network with what they have."""
    async with at.door.db.transaction("admin.places") as tx:
        part = lists.part([(one.id, (one.name,)) for one in await store.members(tx, None)], q=q, after=after)
        found = await store.joined(tx, part.ids)
    return at.page(f"{ROOM}/places.html", members=found, part=part)


async def _around(at: At, organisation: UUID, group: ServiceGroup | None) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    async with at.door.db.transaction("admin.place") as tx:
        one = await partners.organisation(tx, organisation)
        shown = {"networks": await store.networks_of(tx, organisation), "has": await pools.places_of(tx, organisation)}
    types = [one for one, of in GROUP_OF.items() if of is group]
    areas = areas_of(one.country)
    return {**shown, "one": one, "group": group, "groups": _GROUPS, "types": types, "areas": areas,
            "sexes": list(Sex), "needs": list(Need)}  # fmt: skip


@router.get("/admin/organisations/{organisation}/places/new")
async def new_place(
    organisation: UUID, at: Administrator, group: Annotated[ServiceGroup | None, Query()] = None
) -> Response:
    return at.page(f"{ROOM}/place_new.html", **await _around(at, organisation, group))


@router.post("/admin/organisations/{organisation}/places/new")
async def register(organisation: UUID, sent: AdministratorSent) -> Response:
    """A second click adds nothing more."""
    form = sent.form
    group = next((one for one in _GROUPS if one.value == form.one("group")), None)
    answers: dict[str, Any] = {name: form.some(name) for name in ("network", "area", "usable", "min_age", "max_age")}
    answers |= {name: form.all(name) for name in ("service_types", "sexes", "needs")}
    try:
        given = forms.read(PlaceForm, answers)
        if given.min_age > given.max_age:
            raise Incomplete({"max_age": N_("The last age comes before the first: look at both again.")})
        if {GROUP_OF[one] for one in given.service_types} != {group}:
            raise Incomplete({"service_types": SAID["enum"]})
        eligibility = Eligibility(sexes=given.sexes, min_age=given.min_age, max_age=given.max_age, needs=given.needs)
        body = forms.read(api.PlaceBody, {
            "organisation": organisation, "network": given.network, "service_types": given.service_types,
            "area": given.area, "eligibility": eligibility, "usable": given.usable,
        })  # fmt: skip
        await api.register_place(body, sent.command())
    except Incomplete as error:
        around = await _around(sent, organisation, group)
        return sent.again(f"{ROOM}/place_new.html", error, form, **around)
    except Refusal as refusal:
        wrong = forms.at_field(refusal, {"unknown-area": "area"})
        around = await _around(sent, organisation, group)
        return sent.again(f"{ROOM}/place_new.html", wrong, form, **around)
    return sent.see(f"/referral/pages/admin/organisations/{organisation}", done="places-added")
