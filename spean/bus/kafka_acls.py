"""Who may do what on Kafka: each service writes its own topics, reads those that it listens to, and has its own group;
nothing else. So a topic has one writer, whatever else goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient

from spean.bus import Use
from spean.bus.kafka_requests import Acl, create_acl, delete_acl, load_acls

RETRY_S = 0.05
# Who may only look at a topic's name and length is not told.
_TOUCHES = frozenset({"ALL", "READ", "WRITE", "DELETE", "ALTER", "ALTER_CONFIGS"})


@dataclass(frozen=True, slots=True)
class AclReport:
    """`kept`: the brokers keep permissions at all. `surplus`: what a service's account may do beyond its work; `others`:
    what other accounts may do with our topics."""

    kept: bool
    missing: tuple[Acl, ...] = ()
    surplus: tuple[Acl, ...] = ()
    others: tuple[Acl, ...] = ()


def principal_of(use: Use, accounts: Mapping[str, str]) -> str:
    """The account of a service: the one that was named, or one with its group's name."""
    return accounts.get(use.group, f"User:{use.group}")


def wanted(uses: Iterable[Use], accounts: Mapping[str, str], operators: Collection[str] = ()) -> frozenset[Acl]:
    """`operators` read and write every topic: they say again what was said (`spean replay`)."""
    acls: set[Acl] = set()
    for use in uses:
        principal = principal_of(use, accounts)
        acls |= {Acl(principal, "WRITE", "topic", topic) for topic in use.writes}
        # What it has said itself it may read: after a restore it finds there what its database has lost.
        acls |= {Acl(principal, "READ", "topic", topic) for topic in use.reads | use.writes}
        acls.add(Acl(principal, "READ", "group", use.group))
        acls |= {
            Acl(one, right, "topic", topic) for one in operators for right in ("READ", "WRITE") for topic in use.writes
        }
    return frozenset(acls)


def compare(wanted: Collection[Acl], found: Collection[Acl]) -> AclReport:
    ours = {acl.principal for acl in wanted}
    topics = {acl.name for acl in wanted if acl.kind == "topic"}
    return AclReport(
        kept=True,
        missing=tuple(sorted(set(wanted) - set(found))),
        surplus=tuple(sorted(acl for acl in set(found) - set(wanted) if acl.principal in ours)),
        others=tuple(sorted(acl for acl in found if acl.principal not in ours and _touches(acl, topics))),
    )


def _touches(acl: Acl, topics: Collection[str]) -> bool:
    if acl.kind != "topic" or acl.operation not in _TOUCHES:
        return False
    if acl.pattern == "prefixed":
        return any(topic.startswith(acl.name) for topic in topics)
    return acl.name == "*" or acl.name in topics


async def report(admin: AIOKafkaAdminClient, wanted: Collection[Acl]) -> AclReport:
    """Raises KafkaError."""
    try:
        return compare(wanted, await load_acls(admin))
    except errors.SecurityDisabled:
        return AclReport(kept=False)


async def apply(admin: AIOKafkaAdminClient, wanted: Collection[Acl]) -> AclReport:
    """Give what is missing, then take what is too much from the services' own accounts; other accounts keep what they
    have. Returns how it was before. Raises KafkaError."""
    before = await report(admin, wanted)
    for acl in before.missing:
        await create_acl(admin, acl)
    for acl in before.surplus:
        await delete_acl(admin, acl)
    # Brokers hear of it a moment after they have said yes; the caller sets the limit.
    while True:
        now = await report(admin, wanted)
        if not (now.missing or now.surplus):
            return before
        await asyncio.sleep(RETRY_S)
