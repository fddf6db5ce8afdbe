"""Networks: who is in them, who coordinates, how long each answer may take."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Response
from pydantic import Field

from schemas.vocabulary import Urgency
from services.referral.admin import store
from services.referral.admin.desk import ROOM, Administrator, AdministratorSent, active, at_field, database, id_in
from services.referral.partners import api
from services.referral.referrals.domain import Windows
from spean.http import Body
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Incomplete
from spean.web.pages import At, page_router

LIST = "/referral/pages/admin/networks"
_LIST_MOST = 200
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
async def list_networks(at: Administrator) -> Response:
    async with database(at).transaction("admin.networks") as tx:
        found = await store.networks(tx, _LIST_MOST)
    return at.page(f"{ROOM}/networks.html", networks=found)


@router.get("/admin/networks/new")
async def new_network(at: Administrator) -> Response:
    return at.page(f"{ROOM}/network_new.html", **await _choices(at))


async def _choices(at: At) -> dict[str, Any]:
    async with database(at).transaction("admin.choices") as tx:
        return {"organisations": await active(tx), "usual": USUAL, "windows": Windows()}


@router.post("/admin/networks/new")
async def found_network(sent: AdministratorSent) -> Response:
    """A second click leads to the same network."""
    answers = {name: sent.form.some(name) for name in NetworkForm.model_fields}
    try:
        form = forms.read(NetworkForm, answers)
        body = api.NetworkBody(
            name=form.name, coordinator=form.coordinator, windows=form.windows(), sample=sent.who.sample
        )
        made = await api.found_network(body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/network_new.html", error, sent.form, **await _choices(sent))
    except Refusal as refusal:
        wrong = at_field(refusal, {"not-found": "coordinator", "coordinator-unfit": "coordinator"})
        return sent.again(f"{ROOM}/network_new.html", wrong, sent.form, **await _choices(sent))
    return sent.see(f"{LIST}/{id_in(made)}", done="saved")


async def _shown(at: At, network: UUID) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    async with database(at).transaction("admin.network") as tx:
        found, members = await store.network(tx, network), await store.joined(tx, network)
        inside = {one.id for one in members}
        others = [one for one in await active(tx) if one.id not in inside]
    return {"network": found, "members": members, "others": others}


@router.get("/admin/networks/{network}")
async def one_network(network: UUID, at: Administrator) -> Response:
    return at.page(f"{ROOM}/network.html", **await _shown(at, network))


@router.post("/admin/networks/{network}/members")
async def join(network: UUID, sent: AdministratorSent) -> Response:
    """One more member. Adding it twice is adding it once."""
    try:
        body = forms.read(api.Join, {"organisation": sent.form.some("organisation")})
        await api.join(network, body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/network.html", error, sent.form, **await _shown(sent, network))
    return sent.see(f"{LIST}/{network}", done="joined")


@router.get("/admin/networks/{network}/coordinator")
async def choose_coordinator(network: UUID, at: Administrator) -> Response:
    return at.page(f"{ROOM}/coordinator.html", **await _shown(at, network))


@router.post("/admin/networks/{network}/coordinator")
async def name_coordinator(network: UUID, sent: AdministratorSent) -> Response:
    try:
        body = forms.read(api.Coordinator, {"organisation": sent.form.some("organisation")})
        await api.name_coordinator(network, body, sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/coordinator.html", error, sent.form, **await _shown(sent, network))
    except Refusal as refusal:
        wrong = at_field(refusal, {"coordinator-unfit": "organisation"})
        return sent.again(f"{ROOM}/coordinator.html", wrong, sent.form, **await _shown(sent, network))
    return sent.see(f"{LIST}/{network}", done="coordinator")
