"""Who is at a page: a member of an organisation's staff with a session of the network's issuer.

The cookie means something to *referral* only. Every other service shows it there for each page and gets a token for
itself, at most 60 s old; so a session that is ended opens nothing any more, anywhere, from that moment.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from schemas.questions import OrganisationFacts
from schemas.rights import StaffRole, scopes_of
from schemas.vocabulary import OrganisationStatus
from spean.auth import Caller, Verifier
from spean.problem import Refusal

# `__Host-`: this origin only, TLS only (browsers count loopback as such), every path.
COOKIE = "__Host-spean"
SESSION_TOKEN_S = 60
# The issuer is asked while somebody waits for a page.
EXCHANGE_LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """`session` names the session without opening it (for CSRF and for what is kept of a page); `name` and
    `organisation` are for the page's head."""

    person: UUID
    session: UUID
    name: str
    organisation: str
    sample: bool
    roles: frozenset[StaffRole]
    networks: frozenset[UUID]
    facts: OrganisationFacts
    language: str

    @property
    def org(self) -> UUID:
        return self.facts.organisation

    @property
    def only_stops(self) -> bool:
        """Does nothing but stop for the people of an organisation that is shut out?"""
        return self.facts.status is not OrganisationStatus.ACTIVE

    @property
    def scopes(self) -> frozenset[str]:
        return scopes_of(self.roles)

    def caller(self) -> Caller:
        """The same as the API knows callers: what a page does is done and recorded as this person's."""
        return Caller(
            org=self.org, client=f"person:{self.person}", scopes=self.scopes, networks=self.networks, facts=self.facts,
            expires=time.time() + SESSION_TOKEN_S,
        )  # fmt: skip


# A session cookie's value → who it is; None where it opens nothing (any more).
FindVisitor = Callable[[str], Awaitable[Visitor | None]]


def claims_of(visitor: Visitor) -> dict[str, Any]:
    """What the issuer puts into a session token."""
    return {
        "sub": str(visitor.person), "session": str(visitor.session), "name": visitor.name,
        "organisation": visitor.organisation, "sample": visitor.sample, "roles": sorted(visitor.roles),
        "networks": sorted(map(str, visitor.networks)), "facts": visitor.facts.model_dump(mode="json"),
        "language": visitor.language,
    }  # fmt: skip


def visitor_in(claims: Mapping[str, Any]) -> Visitor:
    """The reverse. Raises Refusal `bad-token`."""
    try:
        return Visitor(
            person=UUID(str(claims["sub"])), session=UUID(str(claims["session"])), name=str(claims["name"]),
            organisation=str(claims["organisation"]), sample=bool(claims["sample"]),
            roles=frozenset(StaffRole(role) for role in claims["roles"]),
            networks=frozenset(UUID(str(network)) for network in claims["networks"]),
            facts=OrganisationFacts.model_validate(claims["facts"], strict=False, extra="ignore"),
            language=str(claims["language"]),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError):
        raise Refusal("bad-token") from None


def exchanged_at(
    client: httpx.AsyncClient, issuer: str, verifier: Verifier, audience: str, *, watching: bool = False
) -> FindVisitor:
    """For a service that is not the issuer: shows the cookie at `issuer`/sessions/exchange and checks the token that comes
    back. `watching`: it does not count as use of the session. The function raises Refusal `busy` where the issuer does
    not answer."""

    async def find(value: str) -> Visitor | None:
        try:
            shown = {"session": value, "audience": audience, "watching": watching}
            reply = await client.post(f"{issuer}/sessions/exchange", json=shown, timeout=EXCHANGE_LIMIT_S)
            if reply.status_code == httpx.codes.UNAUTHORIZED:
                return None
            reply.raise_for_status()
            token = str(reply.json()["token"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            raise Refusal("busy") from None
        return visitor_in(await verifier.claims(token))

    return find
