"""A data-protection officer adds the usual rules of a network: chooses who sends and who receives, reads every rule that
would be added, and adds exactly those."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from schemas.vocabulary import ServiceGroup
from services.intake.rules import store, usual
from services.intake.rules.api import SCOPE, RuleView
from services.intake.rules.usual import Lacking
from spean.db import Tx
from spean.http import Command, Reply
from spean.ids import opaque_id
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web import network as networks
from spean.web.forms import Form
from spean.web.network import Network, Organisation
from spean.web.pages import At, Sent, at_with, page_router, sent_with

PAGE, LIST = "/intake/pages/rules/usual", "/intake/pages/rules"
# One transaction, one page to read.
_ORGANISATIONS_MOST, _RULES_MOST = 200, 1_000
router = page_router("rules' pages")
Ids = Annotated[list[UUID] | None, Query(max_length=_ORGANISATIONS_MOST)]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A network with who may be chosen in it, and who was."""

    network: Network
    senders: list[Organisation]
    receivers: list[Organisation]
    sends: list[Organisation]
    receives: list[Organisation]


async def _chosen(request: Request, network: UUID, sends: Collection[UUID], receives: Collection[UUID]) -> _Chosen:
    """Raises Refusal `not-found`, or `busy` where the network does not say who is in it."""
    directory = await networks.directory(request)
    if not directory.answered:
        raise Refusal("busy")
    one = next((each for each in directory.networks if each.id == network), None)
    if one is None:
        raise Refusal("not-found")
    members = [each for each in directory.organisations.values() if network in each.networks]
    senders = [each for each in members if usual.may_send(each.facts)]
    receivers = [each for each in members if usual.may_receive(each.facts)]
    return _Chosen(
        one, senders, receivers,
        [each for each in senders if each.id in sends], [each for each in receivers if each.id in receives],
    )  # fmt: skip


async def _found(tx: Tx, chosen: _Chosen) -> Lacking:
    both = [each.id for each in (*chosen.sends, *chosen.receives)]
    standing = await store.in_force(tx, {chosen.network.id}, list(ServiceGroup), both, both)
    return usual.lacking([one.facts for one in chosen.sends], [one.facts for one in chosen.receives], standing)


async def _lacking(tx: Tx, chosen: _Chosen) -> Lacking:
    """Raises Refusal `too-large` for more than anybody reads."""
    found = await _found(tx, chosen)
    if len(found.gives) > _RULES_MOST:
        raise Refusal("too-large")
    return found


@router.get("/rules/usual")
async def review(
    request: Request, at: Annotated[At, Depends(at_with(SCOPE))], network: UUID | None = None, sends: Ids = None,
    receives: Ids = None, read: Annotated[str, Query(max_length=1)] = "",
) -> Response:  # fmt: skip
    """First the network, then who sends and who receives, then every rule that would be added."""
    if network is None:
        directory = await networks.directory(request)
        if len(directory.networks) != 1:
            return at.page("intake/rules/usual_network.html", directory=directory)
        network = directory.networks[0].id
    chosen = await _chosen(request, network, sends or [], receives or [])
    asked = Form({name: request.query_params.getlist(name) for name in request.query_params})
    if not read or lists.narrows(asked, "sends") or lists.narrows(asked, "receives"):
        return at.page("intake/rules/usual_who.html", chosen=chosen, **await _offered(at, chosen, asked))
    errors = _missing(chosen)
    if errors:
        offered = await _offered(at, chosen, asked)
        return at.page("intake/rules/usual_who.html", status=422, chosen=chosen, **{**offered, "errors": errors})
    async with at.door.db.transaction("page.usual_rules") as tx:
        lacking = await _lacking(tx, chosen)
    return at.page("intake/rules/usual.html", chosen=chosen, lacking=lacking, names=_names(chosen))


async def _offered(at: At, chosen: _Chosen, asked: Form) -> dict[str, Any]:
    """Who can be ticked. Of more than fit a page: who usually hands people on, and who lacks a rule with any of those."""
    usually = [one for one in chosen.senders if one.facts.type in usual.SENDS]
    lacking = [one.id for one in chosen.receivers]
    if len(lacking) > lists.MOST:
        async with at.door.db.transaction("page.usual_rules") as tx:
            found = await _found(tx, replace(chosen, sends=usually, receives=chosen.receivers))
        lacking = list({give.recipient for give in found.gives} & set(lacking))
    first = not asked.values.get("read")
    senders = lists.choices(
        [(one.id, one.name) for one in chosen.senders], asked, "sends", usually=[one.id for one in usually]
    )
    receivers = lists.choices([(one.id, one.name) for one in chosen.receivers], asked, "receives", usually=lacking)
    ids = {str(one.id) for one in usually}
    return {
        "senders": senders, "receivers": receivers, "form": asked, "errors": {},
        "send": [str(id_) for id_, _ in senders.lines if str(id_) in ids] if first else [],
        "receive": [str(id_) for id_, _ in receivers.lines] if first else [],
        "types": {one.id: one.facts.type for one in (*chosen.senders, *chosen.receivers)},
    }  # fmt: skip


def _missing(chosen: _Chosen) -> dict[str, str]:
    given: dict[str, Sequence[Organisation]] = {"sends": chosen.sends, "receives": chosen.receives}
    return {name: forms.SAID["too_short"] for name, some in given.items() if not some}


def _names(chosen: _Chosen) -> dict[UUID, str]:
    return {each.id: each.name for each in (*chosen.senders, *chosen.receivers)}


@router.post("/rules/usual")
async def add(request: Request, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """All of them or none; `reviewed` says which those were that the officer has read."""
    try:
        network, *_ = _ids(sent, "network")
        chosen = await _chosen(request, network, _ids(sent, "sends"), _ids(sent, "receives"))
    except ValueError:
        raise Refusal("invalid") from None
    await _add(chosen, sent.form.one("reviewed"), sent.command())
    return sent.see(LIST, kind="agreements", done="rules-added")


def _ids(sent: Sent, name: str) -> list[UUID]:
    """Raises ValueError."""
    return [UUID(value) for value in sent.form.all(name)]


async def _add(chosen: _Chosen, reviewed: str, command: Command) -> Response:
    """Raises Refusal `version` where other rules than those reviewed would be added."""

    async def work(tx: Tx) -> Reply:
        lacking = await _lacking(tx, chosen)
        if lacking.digest != reviewed:
            raise Refusal("version")
        by, dates = command.caller.client, (tx.now, None)
        for need in lacking.needs:
            await store.insert_need_to_know(
                tx, opaque_id(), chosen.network.id, need.group, need.stage, list(need.fields), dates, by
            )
        for give in lacking.gives:
            await store.insert_agreement(
                tx, opaque_id(), give.sender, give.recipient, list(give.categories), list(usual.PURPOSES), dates, by
            )
        return Reply(RuleView(id=chosen.network.id), status=201)

    return await command.run_as_service("rule.usual", work)
