"""What a partner's system and a member of an organisation's staff may do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType

# What a system may be allowed: `<service>:<what>`. The part before the colon is the token's audience.
SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "intake:send": "write entries, record what people decide, request and follow hand-offs",
        "intake:rules": "review need-to-know, agreements and corridors; ask who was told what of your own cases",
        "referral:send": "say that a person has set out",
        "referral:receive": "answer offers, record arrival and outcome, keep the number of places",
        "referral:coordinate": "act on what was escalated to you",
        "referral:admin": "register organisations, networks, systems and places",
        "notify:watch": "see numbers and the stream of changes of your networks",
        "notify:admin": "keep the addresses that are told that something waits",
    }
)


class StaffRole(StrEnum):
    """What a member of an organisation's staff does here; one person may do several things."""

    SENDER = "sender"
    RECEIVER = "receiver"
    COORDINATOR = "coordinator"
    ADMINISTRATOR = "administrator"
    OFFICER = "officer"


SCOPES_OF: Mapping[StaffRole, frozenset[str]] = MappingProxyType(
    {
        StaffRole.SENDER: frozenset({"intake:send", "referral:send"}),
        StaffRole.RECEIVER: frozenset({"referral:receive"}),
        StaffRole.COORDINATOR: frozenset({"referral:coordinate", "notify:watch"}),
        StaffRole.ADMINISTRATOR: frozenset({"referral:admin", "notify:watch", "notify:admin"}),
        StaffRole.OFFICER: frozenset({"intake:rules"}),
    }
)


def scopes_of(roles: Collection[StaffRole]) -> frozenset[str]:
    """What all of them together may do."""
    return frozenset[str]().union(*(SCOPES_OF[role] for role in roles))
