"""Networks: who is in them, who coordinates, how long each answer may take."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Response
from pydantic import Field

from schemas.vocabulary import Urgency
from services.referral.admin import store
from services.referral.admin.desk import ORGANISATIONS_MOST, ROOM, Administrator, AdministratorSent
from services.referral.partners import api
from services.referral.partners import store as partners
from services.referral.referrals.domain import Windows
from spean.http import Body
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.lists import Typed
from spean.web.pages import At, id_in, page_router

LIST = "/referral/pages/admin/networks"
# Two weeks: longer than that nobody waits for an answer. Minutes.
Minutes = Annotated[int, Field(ge=1, le=14 * 24 * 60)]
USUAL = {urgency.value: seconds // 60 for urgency, seconds in Windows().answer_s.items()}
router = page_router("administrator's pages")


class NetworkForm(Body):
    """Answer windows in minutes, by urgency; the other windows are the usual ones."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    coordinator: UUID
    immediate: Minutes
    emergency: Minutes
    urgent: Minutes
    normal: Minutes

    def windows(self) -> Windows:
        minutes = {name: getattr(self, name) for name in USUAL}
        return Windows(answer_s={Urgency(name): count * 60 for name, count in minutes.items()})


@router.get("/admin/networks")
async def list_networks(
    at: Administrator, q: Typed = "", after: UUID | None = None, organisation: UUID | None = None
) -> Response:
    """`organisation`: who is to join one of them, where somebody comes from its page."""
    async with at.door.db.transaction("admin.networks") as tx:
        names = [(id_, (name,)) for id_, name in await store.names_of_networks(tx)]
        part = lists.part(names, q=q, after=after)
        found = await store.networks(tx, part.ids)
    return at.page(f"{ROOM}/networks.html", networks=found, part=part, joins=organisation)


@router.get("/admin/networks/new")
async def new_network(at: Administrator, organisation: str = "") -> Response:
    """`organisation`: who would coordinate it, where somebody comes from its page."""
    return at.page(f"{ROOM}/network_new.html", **await _choices(at, Form(), organisation))


async def _choices(at: At, form: Form, chosen: str = "") -> dict[str, Any]:
    async with at.door.db.transaction("admin.choices") as tx:
        active = await partners.active(tx, ORGANISATIONS_MOST)
    choices = lists.choices([(one.id, one.name) for one in active], form, "coordinator", chosen=[chosen])
    return {"choices": choices, "chosen": chosen, "usual": USUAL, "windows": Windows()}


@router.post("/admin/networks/new")
async def found_network(sent: AdministratorSent) -> Response:
    """A second click leads to the same network."""
    if lists.narrows(sent.form, "coordinator"):
        return sent.page(f"{ROOM}/network_new.html", form=sent.form, **await _choices(sent, sent.form))
    answers = {name: sent.form.some(name) for name in NetworkForm.model_fields}
    try:
        form = forms.read(NetworkForm, answers)
        body = api.NetworkBody(
            name=form.name, coordinator=form.coordinator, windows=form.windows(), sample=sent.who.sample
        )
        made = await api.found_network(body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/network_new.html", error, sent.form, **await _choices(sent, sent.form))
    except Refusal as refusal:
        wrong = forms.at_field(refusal, {"not-found": "coordinator", "coordinator-unfit": "coordinator"})
        return sent.again(f"{ROOM}/network_new.html", wrong, sent.form, **await _choices(sent, sent.form))
    return sent.see(f"{LIST}/{id_in(made)}", done="saved")


async def _members(at: At, network: UUID, form: Form, q: str = "", after: UUID | None = None,
                   chosen: str = "") -> dict[str, Any]:  # fmt: skip
    """A network with one page of its members, and who may join it. Raises Refusal `not-found`."""
    async with at.door.db.transaction("admin.network") as tx:
        found, inside = await store.network(tx, network), await store.members(tx, network)
        part = lists.part([(one.id, (one.name,)) for one in inside], q=q, after=after)
        shown, known = await store.joined(tx, part.ids, network), {one.id for one in inside}
        others = [
            (one.id, one.name) for one in await partners.active(tx, ORGANISATIONS_MOST) if one.id not in known
        ]  # fmt: skip
    choices = lists.choices(others, form, "organisation", chosen=[chosen])
    return {"network": found, "members": shown, "part": part, "choices": choices, "chosen": chosen}


@router.get("/admin/networks/{network}")
async def one_network(
    network: UUID, at: Administrator, q: Typed = "", after: UUID | None = None, organisation: str = ""
) -> Response:
    """`organisation`: who would join it, where somebody comes from its page."""
    return at.page(f"{ROOM}/network.html", **await _members(at, network, Form(), q, after, organisation))


@router.post("/admin/networks/{network}/members")
async def join(network: UUID, sent: AdministratorSent) -> Response:
    """One more member. Adding it twice is adding it once."""
    if lists.narrows(sent.form, "organisation"):
        return sent.page(f"{ROOM}/network.html", form=sent.form, **await _members(sent, network, sent.form))
    try:
        body = forms.read(api.Join, {"organisation": sent.form.some("organisation")})
        await api.join(network, body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/network.html", error, sent.form, **await _members(sent, network, sent.form))
    return sent.see(f"{LIST}/{network}", done="joined")


async def _coordinators(at: At, network: UUID, form: Form) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    async with at.door.db.transaction("admin.coordinator") as tx:
        found, inside = await store.network(tx, network), await store.members(tx, network)
    fit = [(one.id, one.name) for one in inside if not one.suspended and one.id != found.coordinator]
    return {"network": found, "choices": lists.choices(fit, form, "organisation")}


@router.get("/admin/networks/{network}/coordinator")
async def choose_coordinator(network: UUID, at: Administrator) -> Response:
    return at.page(f"{ROOM}/coordinator.html", **await _coordinators(at, network, Form()))


@router.post("/admin/networks/{network}/coordinator")
async def name_coordinator(network: UUID, sent: AdministratorSent) -> Response:
    if lists.narrows(sent.form, "organisation"):
        return sent.page(f"{ROOM}/coordinator.html", form=sent.form, **await _coordinators(sent, network, sent.form))
    try:
        body = forms.read(api.Coordinator, {"organisation": sent.form.some("organisation")})
        await api.name_coordinator(network, body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/coordinator.html", error, sent.form, **await _coordinators(sent, network, sent.form))
    except Refusal as refusal:
        wrong = forms.at_field(refusal, {"coordinator-unfit": "organisation"})
        return sent.again(f"{ROOM}/coordinator.html", wrong, sent.form, **await _coordinators(sent, network, sent.form))
    return sent.see(f"{LIST}/{network}", done="coordinator")
