"""`spean topics`: how the topics on Kafka, and who may do what with them, must be; what differs there; mending it.

To be run with an account that administers Kafka, not with a service's. The bus inside PostgreSQL has nothing of this: its
topics are made with its tables.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spean.bus import BusError, TopicSpec, Use, kafka_acls
from spean.bus.connect import connect
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_acls import AclReport
from spean.bus.kafka_requests import Acl
from spean.bus.kafka_topics import COPIES, Difference, settings_of
from spean.service import topics, uses
from spean.settings import Settings, WrongSettings
from spean.telemetry import set_up_logs

app = typer.Typer(no_args_is_help=True, help="Topics on Kafka and who may use them: made, mended, checked.")
NO_ACLS = "these brokers keep no permissions: whoever reaches them may read and write everything. Give them an authorizer (docs/kafka.md)"
NOT_OURS = "held by an account that is none of the services': take it away, or name the account with --operator"
Replicas = Annotated[
    int | None,
    typer.Option(min=1, max=9, help="copies of each topic; default: 3, with one broker 1", show_default=False),
]
Account = Annotated[
    list[str] | None,
    typer.Option(help="GROUP=PRINCIPAL, such as spean-notify=User:CN=notify; default: User: and the group's name"),
]
Operator = Annotated[
    list[str] | None,
    typer.Option(help="PRINCIPAL of who runs spean replay, watch and trace; may be given several times"),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`copies`: None for as many as usual."""

    specs: Sequence[TopicSpec]
    uses: Sequence[Use]
    acls: frozenset[Acl]
    copies: int | None


@app.command()
def check(
    replicas: Replicas = None, account: Account = None, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Say what differs from how topics and permissions must be. Changes nothing. Exit code 0: nothing differs; 1: something
    does, or Kafka cannot be asked."""
    set_up_logs("CRITICAL")  # what goes wrong is told as a sentence
    settings = Settings()
    if _inside_postgres(settings):
        return
    wanted = _wanted(settings, replicas, account, operator)
    differing, acls = asyncio.run(_checked(settings, wanted))
    _show(differing, acls, as_json=as_json)
    if differing or not _as_wanted(acls):
        raise typer.Exit(1)


@app.command()
def apply(
    replicas: Replicas = None,
    account: Account = None,
    operator: Operator = None,
    as_json: AsJson = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="print commands of Kafka's own tools, do nothing")
    ] = False,
) -> None:
    """Make the topics that are missing, mend those that differ, and give each service's account exactly its permissions.
    The number of partitions is changed only while a topic has never held a record: else keys would lose their order. Then
    says what still differs, as `check` does."""
    set_up_logs("CRITICAL")  # what goes wrong is told as a sentence
    settings = Settings()
    if _inside_postgres(settings):
        return
    wanted = _wanted(settings, replicas, account, operator)
    if only_print:
        print("\n".join(commands(settings, wanted)))
        return
    changed, before, left, acls = asyncio.run(_applied(settings, wanted))
    if not as_json:
        _tell_changes(changed, before)
    _show(left, acls, as_json=as_json)
    if left or not _as_wanted(acls):
        raise typer.Exit(1)


def _inside_postgres(settings: Settings) -> bool:
    if settings.bus.startswith("kafka://"):
        return False
    Console(soft_wrap=True, highlight=False).print(
        "SPEAN_BUS is not Kafka: the bus inside PostgreSQL makes its topics itself (spean up, spean migrate)."
    )
    return True


def _wanted(settings: Settings, replicas: int | None, account: list[str] | None, operator: list[str] | None) -> Wanted:
    """Raises WrongSettings for accounts that cannot be meant."""
    holders = settings.holders or [settings.holder]
    everybody = uses(holders)
    accounts = dict(one.partition("=")[::2] for one in account or ())
    groups = {use.group for use in everybody}
    for group, principal in accounts.items():
        if group not in groups:
            raise WrongSettings(
                f"--account: {group} is none of {', '.join(sorted(groups))} (SPEAN_HOLDERS names the holders)"
            )
        _expect_principal("--account", principal)
    for principal in operator or ():
        _expect_principal("--operator", principal)
    acls = kafka_acls.wanted(everybody, accounts, operator or ())
    return Wanted(topics(holders), everybody, acls, replicas)


def _expect_principal(option: str, principal: str) -> None:
    kind, colon, name = principal.partition(":")
    if not (kind and colon and name) or name == "*":
        raise WrongSettings(f"{option}: an account is written like User:name, and is never everybody")


async def _checked(settings: Settings, wanted: Wanted) -> tuple[list[Difference], AclReport]:
    bus = await _connected(settings)
    try:
        return await bus.topic_differences(wanted.specs, wanted.copies), await bus.acl_report(wanted.acls)
    finally:
        await bus.close()


async def _applied(
    settings: Settings, wanted: Wanted
) -> tuple[list[Difference], AclReport, list[Difference], AclReport]:
    """What has been changed (topics, permissions as they were), and what differs still."""
    bus = await _connected(settings)
    try:
        changed = await bus.apply_topics(wanted.specs, wanted.copies)
        before = await bus.apply_acls(wanted.acls)
        left = await bus.topic_differences(wanted.specs, wanted.copies)
        return changed, before, left, await bus.acl_report(wanted.acls)
    finally:
        await bus.close()


async def _connected(settings: Settings) -> KafkaBus:
    """Raises BusError."""
    bus = await connect(settings.bus, settings)
    if not isinstance(bus, KafkaBus):
        raise BusError("SPEAN_BUS is not Kafka")
    return bus


def _as_wanted(acls: AclReport) -> bool:
    """Brokers without permissions are told of and are no fault: a trial on one machine has none."""
    return not (acls.missing or acls.surplus or acls.others)


def _show(differing: Sequence[Difference], acls: AclReport, *, as_json: bool) -> None:
    if as_json:
        _show_lines(differing, acls)
        return
    console = Console(soft_wrap=True, highlight=False)
    if differing:
        table = Table("topic", "what", "is", "should be", "what to do", box=None, pad_edge=False, header_style="bold")
        for one in differing:
            table.add_row(*map(escape, (one.topic, one.what, one.found, one.wanted, one.do or "spean topics apply")))
        console.print(table)
    else:
        console.print("[green]ok[/]  every topic is as it should be")
    for word, do, found in (
        ("missing", "spean topics apply", acls.missing),
        ("too much", "spean topics apply takes it away", acls.surplus),
        ("not ours", NOT_OURS, acls.others),
    ):
        for acl in found:
            console.print(f"[red]{word:<8}[/]  {escape(_said(acl))}  → {do}")
    if not acls.kept:
        console.print(f"[yellow]warn[/]  {NO_ACLS}")
    elif _as_wanted(acls):
        console.print("[green]ok[/]  every service may do its work, and nothing else")


def _show_lines(differing: Sequence[Difference], acls: AclReport) -> None:
    for one in differing:
        print(json.dumps({"kind": "topic", **one._asdict()}))
    for word, found in (("missing", acls.missing), ("surplus", acls.surplus), ("others", acls.others)):
        for acl in found:
            print(
                json.dumps(
                    {
                        "kind": "acl",
                        "what": word,
                        "on": acl.kind,
                        **{k: v for k, v in acl._asdict().items() if k != "kind"},
                    }
                )
            )
    if not acls.kept:
        print(json.dumps({"kind": "acl", "what": "none kept", "do": NO_ACLS}))


def _said(acl: Acl) -> str:
    where = f"{acl.kind} {acl.name}" + ("*" if acl.pattern == "prefixed" and acl.name != "*" else "")
    return f"{acl.principal} {acl.operation} on {where}" + (f" from {acl.host}" if acl.host != "*" else "")


def _tell_changes(changed: Sequence[Difference], before: AclReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for one in changed:
        console.print(
            f"[cyan]changed[/]  {escape(one.topic)}: {escape(one.what)} was {escape(one.found)}, is {escape(one.wanted)}"
        )
    for word, acls in (("given", before.missing), ("taken", before.surplus)):
        for acl in acls:
            console.print(f"[cyan]{word:<7}[/]  {escape(_said(acl))}")


def commands(settings: Settings, wanted: Wanted) -> list[str]:
    """The same as commands of Kafka's own tools, for whoever administers it by other means."""
    server = ["--bootstrap-server", settings.bus.removeprefix("kafka://"), "--command-config", "admin.properties"]
    copies = wanted.copies or COPIES
    lines = []
    for spec in wanted.specs:
        made = ["--create", "--if-not-exists", "--topic", spec.name, "--partitions", str(spec.partitions)]
        values = [word for name, value in settings_of(spec, copies).items() for word in ("--config", f"{name}={value}")]
        lines.append(["kafka-topics.sh", *server, *made, "--replication-factor", str(copies), *values])
    for acl in sorted(wanted.acls):
        on = [f"--{acl.kind}", acl.name]
        lines.append(
            [
                "kafka-acls.sh",
                *server,
                "--add",
                "--allow-principal",
                acl.principal,
                "--operation",
                acl.operation.title(),
                *on,
            ]
        )
    return [shlex.join(line) for line in lines]
