"""The administrator's pages of mail addresses: who can be told that something waits, and who cannot. An address is written
here and never shown: a house is not found by it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from services.notify.deliveries import api, store
from services.notify.deliveries.api import SCOPE, AddressBody
from spean.http import View
from spean.problem import Refusal
from spean.web import forms, lists, network
from spean.web.forms import Incomplete
from spean.web.lists import Typed
from spean.web.pages import At, Sent, at_with, page_router, sent_with

LIST = "/notify/pages/addresses"
_ONE = "notify/deliveries/address.html"
router = page_router("administrator's pages")
Administrator = Annotated[At, Depends(at_with(SCOPE))]
AdministratorSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class MissingView(View):
    """Organisations that are not suspended and have no address."""

    organisations: tuple[UUID, ...]


@router.get("/addresses")
async def addresses(
    request: Request, at: Administrator, q: Typed = "", state: str = "", after: UUID | None = None
) -> Response:
    """Every organisation, by parts of its name. `state`: `missing`, those alone that have none."""
    directory = await network.directory(request)
    async with at.door.db.transaction("page.addresses") as tx:
        every = {row["id"]: row for row in await store.organisations(tx)}
    missing = {id_ for id_, row in every.items() if _is_missing(row)}
    kept = missing if state == "missing" else every.keys()
    part = lists.part([(id_, (directory.name(id_) or "",)) for id_ in kept], q=q, after=after)
    return at.page(
        "notify/deliveries/addresses.html", part=part, found=[every[id_] for id_ in part.ids], missing=missing, state=state,
        directory=directory,
    )  # fmt: skip


@router.get("/addresses/missing")
async def which_are_missing(at: Administrator) -> MissingView:
    """For the administrator's pages of *referral*, which knows no addresses."""
    async with at.door.db.transaction("page.addresses") as tx:
        rows = await store.organisations(tx)
    return MissingView(organisations=tuple(row["id"] for row in rows if _is_missing(row)))


def _is_missing(row: Any) -> bool:
    return row["changed_at"] is None and not row["suspended"]


@router.get("/addresses/{organisation}")
async def address(request: Request, organisation: UUID, at: Administrator) -> Response:
    return at.page(_ONE, **await _shown(request, at, organisation))


async def _shown(request: Request, at: At, organisation: UUID) -> dict[str, Any]:
    """Raises Refusal `not-found` for an organisation that neither this service nor the network's list knows."""
    listed = await network.directory(request)
    async with at.door.db.transaction("page.address") as tx:
        row = await store.find_organisation(tx, organisation)
    if not row["known"] and listed.name(organisation) is None:
        raise Refusal("not-found")
    return {"row": row, "organisation": organisation, "name": listed.name(organisation)}


@router.post("/addresses/{organisation}")
async def keep(request: Request, organisation: UUID, sent: AdministratorSent) -> Response:
    shown = await _shown(request, sent, organisation)
    try:
        body = forms.read(AddressBody, {"organisation": organisation, "email": sent.form.some("email")})
    except Incomplete as error:
        return sent.again(_ONE, error, sent.form, **shown)
    await api.save_address(body, sent.command())
    return sent.see(f"{LIST}/{organisation}", done="saved")
