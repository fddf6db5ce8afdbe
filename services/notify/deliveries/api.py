"""Where an organisation is told that something waits."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from services.notify.deliveries import store
from spean.db import Tx
from spean.http import Body, Command, Reply, View, command_with

SCOPE = "notify:admin"
router = APIRouter(tags=["deliveries"])
# What every mail server takes, and nothing that a header could be made of: letters and digits of ASCII, a few signs.
_EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"


class AddressBody(Body):
    organisation: UUID
    email: Annotated[str, Field(max_length=254, pattern=_EMAIL)]


class AddressView(View):
    organisation: UUID


@router.post("/addresses", response_model=AddressView)
async def save_address(body: AddressBody, command: Annotated[Command, Depends(command_with(SCOPE))]) -> Response:
    """The address of an organisation's shared mailbox; it only ever gets "something waits"."""

    async def work(tx: Tx) -> Reply:
        await store.save_address(tx, body.organisation, body.email)
        return Reply(AddressView(organisation=body.organisation))

    return await command.run_as_service("address.save", work)
