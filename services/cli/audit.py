"""`spean audit CASE`: who had been told what of a case at a time, under which consent and rules. Names of fields, ids, times;
nothing that a person said."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import typer
from joserfc.jwk import OKPKey
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from services.cli import bootstrap
from services.cli.client import Partner
from services.cli.screen import private_key
from spean.settings import Settings

# Where it goes into a file no column is squeezed.
FILE_COLUMNS = 200


def audit(
    case: Annotated[UUID, typer.Argument(help="the case, or its entry")],
    at: Annotated[
        str, typer.Option(help="ISO 8601, such as 2026-11-22T14:00+07:00; without a zone UTC; default: now")
    ] = "",
    as_: Annotated[
        str, typer.Option("--as", metavar="CLIENT", help="the system that signs in, with the scope intake:rules")
    ] = bootstrap.CLIENT,
    key: Annotated[
        Path | None, typer.Option(help="its private key (JWK); default: CLIENT.jwk in the keys folder")
    ] = None,
    url: Annotated[str, typer.Option(help="where Spean answers; default: the installation on this machine")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="the API's answer as it is")] = False,
) -> None:
    """Who knew what about a case of your own organisation, since when, under which consent and rules. That you asked is
    written down at the holder."""
    settings = Settings()
    moment = read_time(at) if at else None
    signing = private_key(key or bootstrap.key_file(settings, as_))
    found = asyncio.run(_ask(url or bootstrap.address(settings), as_, signing, case, moment))
    if as_json:
        typer.echo(json.dumps(found))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = FILE_COLUMNS
    console.print(shown(found))


def read_time(text: str) -> datetime:
    """Raises typer.BadParameter."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = "not a time as ISO 8601 writes it"
        raise typer.BadParameter(msg, param_hint="--at") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _ask(url: str, client: str, key: OKPKey, case: UUID, at: datetime | None) -> dict[str, Any]:
    """Raises ApiProblem."""
    query = f"?{urlencode({'at': at.isoformat()})}" if at else ""
    async with Partner(url, client, key) as partner:
        found: dict[str, Any] = await partner.get(f"/intake/cases/{case}/audit{query}")
    return found


def shown(found: dict[str, Any]) -> RenderableType:
    """As a page of the terminal: what stood, who was told, who asked this before."""
    decided = ", ".join(
        f"{escape(one['decision'])} {escape(one['state'])} (version {one['version']}{'' if one['stands'] else ', does not stand'})"
        for one in found["decisions"]
    )
    asked = ", ".join(f"{escape(one['by'])} {_minute(one['at'])}" for one in found["asked"])
    told = [one for one in found["answers"] if one["told"]]
    refused = [one for one in found["answers"] if not one["told"]]
    parts: list[RenderableType] = [
        f"[bold]Case {found['case']}[/] as of {_minute(found['at'])} UTC",
        f"Decided by then: {decided or 'nothing'}",
    ]
    if not found["whole"]:
        parts.append("[red]There are older answers than these:[/] ask for an earlier time")
    parts += [_table("Who had been let read what (empty fields too)", told), _table("Who was refused", refused)]
    parts.append(f"Asked: {asked}")
    return Group(*parts)


def _table(title: str, answers: list[dict[str, Any]]) -> RenderableType:
    if not answers:
        return f"{title}: nobody"
    table = Table(title=f"{title} ({len(answers)})", title_justify="left", show_lines=True)
    for name in ("organisation", "stage", "fields", "from – last (UTC)", "consents", "rules", "copy"):
        table.add_column(name, overflow="fold")
    for one in answers:
        as_ = one["recipient_as"]
        who = f"{one['recipient']}\n{as_['type']}, {as_['country']}" if as_ else f"{one['recipient']}\n(facts not kept)"
        times = f"{one['times']} ×" if one["times"] is not None else "and perhaps later"
        fields = "\n".join(filter(None, [", ".join(one["told"]), _refusals(one["refused"])]))
        table.add_row(
            escape(who), escape(f"{one['stage']}\n{one['purpose']}"), escape(fields),
            f"{_minute(one['first_at'])} – {_minute(one['last_at'])}\n{times}", escape(_consents(one)),
            escape("\n".join(map(_rule, one["rules"])) or "none"), escape(_copy(one["packet"])),
        )  # fmt: skip
    return table


def _refusals(refused: dict[str, str]) -> str:
    by: dict[str, list[str]] = {}
    for field, rule in refused.items():
        by.setdefault(rule, []).append(field)
    return "\n".join(f"not ({rule}): {', '.join(sorted(fields))}" for rule, fields in sorted(by.items()))


def _consents(one: dict[str, Any]) -> str:
    sharing, service = one["sharing"], one["service"]
    first = f"sharing {sharing['state']}, version {sharing['version']}" if sharing else "no sharing"
    if service:
        return f"{first}\nservice {service['state']}, version {service['version']}"
    return f"{first}\n{'no service consent' if one['complete'] else 'service: not kept then'}"


def _rule(one: dict[str, Any]) -> str:
    kind = one["kind"] or "not readable"
    return f"{kind} {one['id'][:8]}{'' if one['in_force'] else ' (not in force then)'}"


def _copy(copy: dict[str, Any] | None) -> str:
    if copy is None:
        return ""
    if copy["erasure"] is None:
        return "holds one"
    at = copy["asked_at"] if copy["erasure"] == "requested" else copy["answered_at"]
    lines = [copy["erasure"], _minute(at) if at else "when is not known"]
    if copy["statements"]:
        last = copy["statements"][-1]
        lines.append("signed by their system" if last["signed_by"] == "system" else "receipt of this holder")
        lines += [f"{last['reason']}: {last['law']}"] if last["law"] else []
    return "\n".join(lines)


def _minute(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
