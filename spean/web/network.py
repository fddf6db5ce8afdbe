"""The organisations of a visitor's networks, by name, as the network lists them. No other service keeps names of its own, so
that there is one place where an organisation is renamed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import httpx
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.questions import OrganisationFacts
from spean.web.visitor import COOKIE

# A page waits for it, and says what it can without it.
_LIMIT_S = 3.0
Answer = TypeVar("Answer", bound=BaseModel)


class Organisation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    sample: bool
    facts: OrganisationFacts
    networks: tuple[UUID, ...] = ()

    @property
    def id(self) -> UUID:
        return self.facts.organisation


class Network(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    name: str


class _Listing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    organisations: tuple[Organisation, ...]
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """By id, in the order of their names. Not `answered`: the network was silent, and nobody is in it."""

    organisations: Mapping[UUID, Organisation]
    answered: bool = True
    networks: tuple[Network, ...] = ()

    def name(self, id_: UUID) -> str | None:
        """None for an organisation that is not listed."""
        found = self.organisations.get(id_)
        return None if found is None else found.name

    def listed(self, id_: str) -> bool:
        """Is it the id of a listed organisation, as a form has it?"""
        return any(id_ == str(one) for one in self.organisations)


SILENT = Directory({}, answered=False)
FindDirectory = Callable[[Request], Awaitable[Directory]]


async def asked_for(request: Request, client: httpx.AsyncClient, url: str, answer: type[Answer]) -> Answer | None:
    """What another service answers this visitor, whose session it is shown; None without an answer. Raises nothing."""
    shown = {"cookie": f"{COOKIE}={request.cookies.get(COOKIE, '')}"}
    try:
        reply = await client.get(url, timeout=_LIMIT_S, headers=shown)
        reply.raise_for_status()
        return answer.model_validate_json(reply.content, extra="ignore")
    except (httpx.HTTPError, ValidationError):
        return None


def listed_at(client: httpx.AsyncClient, issuer: str) -> FindDirectory:
    """The function raises nothing: without an answer it is `SILENT`."""

    async def find(request: Request) -> Directory:
        found = await asked_for(request, client, f"{issuer}/pages/directory", _Listing)
        if found is None:
            return SILENT
        return Directory({one.id: one for one in found.organisations}, networks=found.networks)

    return find


async def directory(request: Request) -> Directory:
    find: FindDirectory = request.app.state.directory
    return await find(request)
