"""The officer's question: who knew what about a case at a time, under which consent and rule? Answered from what was
written down of the gate's answers; no field of a person is in it, only the names of fields."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import YES
from services.intake.consent.notices import is_reviewed
from services.intake.disclosure import store
from services.intake.erasure import copies_store
from spean.auth import Caller
from spean.db import Database, Tx
from spean.http import Reply, View, caller_with, read_reply
from spean.problem import Refusal

# The data-protection officer's.
SCOPE = "intake:rules"
ANSWERS_MOST = 1_000
_ASKINGS_MOST = 50
router = APIRouter(tags=["rules"])
# (hand-off, organisation) → what was said of its copies.
Said = dict[tuple[UUID, UUID], list["StatementView"]]


class DecisionView(View):
    """One record of what the person decided. `stands`: at the time that is asked about, by its state and its dates; whether
    a minor's guardian was needed too is the gate's to say, in `refused`."""

    version: int
    decision: str
    state: str
    expressed: str
    language: str
    notice: str
    notice_reviewed: bool | None = Field(
        description="confirmed by somebody who speaks the language; null: none was read"
    )
    guardian: bool
    recorded_by: str
    recorded_at: datetime
    valid_from: datetime
    valid_until: datetime | None
    stands: bool


class RuleView(View):
    """A reviewed rule that counted, or a basis that stood in for consent, and the fields or categories it opens. `in_force`: at
    the time that is asked about. Without a `kind`: it is not here any more, or not this organisation's to read."""

    id: UUID
    kind: str | None
    opens: tuple[str, ...]
    legal_basis: str | None
    created_by: str | None
    valid_from: datetime | None
    valid_until: datetime | None
    in_force: bool


class StatementView(View):
    """What somebody said became of the copy: as it was signed (a JWT), and with which public key (as JWK). `signed_by`: their
    system, or this holder for one of their people, whom `by` names."""

    answer: str
    reason: str | None
    law: str | None
    by: str
    signed_by: str
    said_at: datetime
    statement: str
    public_key: dict[str, str]


class CopyView(View):
    """What became of a packet that was read. `erasure`: requested, or what the recipient answered; a time that is absent
    beside it is not known. `statements`: all that they said by then, in its order."""

    erasure: str | None
    asked_at: datetime | None
    answered_at: datetime | None
    statements: tuple[StatementView, ...] = ()


class AnswerView(View):
    """The gate's answers to one organisation that rest on the same: the fields that were let out (also those that held nothing
    then) and those that were refused, by which rule. `last_at`: the last time up to the one asked about that is known; `times`: absent where some of the times
    may be later. `entry_version`: the version of the entry that was told. `recipient_as`: what the network vouched for then.
    `packet`: absent where no copy can be held. `complete`: false where it was written down before the recipient's facts and
    the service consent were kept: those two are not known."""

    handoff: UUID
    service_type: str
    recipient: UUID
    recipient_as: dict[str, Any] | None
    stage: str
    purpose: str
    told: tuple[str, ...]
    refused: dict[str, str]
    first_at: datetime
    last_at: datetime
    times: int | None
    entry_version: int | None
    sharing: DecisionView | None
    service: DecisionView | None
    rules: tuple[RuleView, ...]
    packet: CopyView | None
    complete: bool


class AskedView(View):
    by: str
    at: datetime
    about: datetime


class AuditView(View):
    """`decisions`: the latest of each kind at that time. `answers`: in their order; not `whole` where there are older ones,
    which an earlier time shows. `asked`: who asked this of the case, the latest first, this time included."""

    case: UUID
    entry: UUID
    at: datetime
    decisions: tuple[DecisionView, ...]
    answers: tuple[AnswerView, ...]
    whole: bool
    asked: tuple[AskedView, ...]


@router.get("/cases/{case}/audit", response_model=AuditView)
async def audit(
    request: Request,
    case: UUID,
    caller: Annotated[Caller, Depends(caller_with(SCOPE))],
    at: Annotated[AwareDatetime | None, Query(description="default: now")] = None,
) -> Response:
    """Who had been told what of my organisation's case (its id, or its entry's) at a time, and what was refused, under which
    consent and rules. Not in it, because the gate did not answer it: what a recipient passed on, what the organisation's own
    staff read, who was asked and never looked, and the holder's yes or no to the network. That this was asked, by whom and
    about which time, is written down first."""
    db: Database = request.app.state.door.db
    async with db.transaction("case.audit", org=caller.org) as tx:
        reply = Reply(await audited(tx, case, at or tx.now, caller.client))
    return read_reply(reply)


async def audited(tx: Tx, case: UUID, at: datetime, by: str) -> AuditView:
    """Raises Refusal `invalid` for a time to come, `not-found` (also where row-level security hides the case)."""
    if at > tx.now:
        raise Refusal("invalid", errors=[{"at": "query.at", "why": "in_the_future"}])
    rows = await store.known(tx, case, at, ANSWERS_MOST + 1)
    if not rows:
        raise Refusal("not-found")
    found: UUID = rows[0]["case"]
    await store.write_audited(tx, found, by, at)
    answers = [row for row in rows if row["recipient"] is not None]
    said = await _said(tx, {row["handoff"] for row in answers}, at)
    return AuditView(
        case=found, entry=rows[0]["entry"], at=at,
        decisions=tuple(_decision(one, at) for one in json.loads(rows[0]["decisions"] or "[]")),
        answers=tuple(_answer(row, at, said) for row in answers[-ANSWERS_MOST:]), whole=len(answers) <= ANSWERS_MOST,
        asked=tuple(
            AskedView(by=one["asked_by"], at=one["at"], about=one["about"])
            for one in await store.audited(tx, found, _ASKINGS_MOST)
        ),
    )  # fmt: skip


async def _said(tx: Tx, handoffs: Collection[UUID], at: datetime) -> Said:
    found: Said = defaultdict(list)
    for row in await copies_store.statements_of(tx, handoffs, at):
        public_key = json.loads(row["public_key"])
        shown = StatementView.model_validate({**row, "public_key": public_key})
        found[row["handoff"], row["organisation"]].append(shown)
    return found


def _answer(row: asyncpg.Record, at: datetime, said: Said) -> AnswerView:
    return AnswerView(
        handoff=row["handoff"], service_type=row["service_type"], recipient=row["recipient"],
        recipient_as=json.loads(row["facts"]) if row["facts"] else None, stage=row["stage"], purpose=row["purpose"],
        told=row["allowed"], refused=json.loads(row["refused"]), first_at=row["first_at"], last_at=row["last_at"],
        times=row["times"], entry_version=row["entry_version"], sharing=_recorded(row["sharing"], at),
        service=_recorded(row["service"], at), rules=tuple(_rule(one, at) for one in json.loads(row["rested_on"] or "[]")),
        packet=_copy(row, at, said), complete=row["facts"] is not None,
    )  # fmt: skip


def _recorded(record: str | None, at: datetime) -> DecisionView | None:
    return None if record is None else _decision(json.loads(record), at)


def _decision(record: dict[str, Any], at: datetime) -> DecisionView:
    begins, ends = _time(record["valid_from"]), _time(record["valid_until"])
    stands = record["state"] in YES and _within(begins, ends, at)
    seen = {"guardian": record["guardian"] is not None, "stands": stands}
    return DecisionView.model_validate({**record, **seen, "notice_reviewed": is_reviewed(record["notice"])})


def _rule(found: dict[str, Any], at: datetime) -> RuleView:
    begins, ends = _time(found["valid_from"]), _time(found["valid_until"])
    return RuleView.model_validate({**found, "opens": found["opens"] or (), "in_force": _within(begins, ends, at)})


def _copy(row: asyncpg.Record, at: datetime, said: Said) -> CopyView | None:
    """A copy that was asked about or answered for later was a copy still; where it is not known when, it is told so."""
    if row["fetched_at"] is None or not row["allowed"]:
        return None
    erasure, asked, answered = row["erasure"], row["erasure_asked_at"], row["erasure_answered_at"]
    if erasure not in {None, "requested"} and answered is not None and answered > at:
        erasure, answered = "requested", None
    if erasure == "requested" and asked is not None and asked > at:
        erasure, asked = None, None
    return CopyView(
        erasure=erasure, asked_at=asked if erasure else None,
        answered_at=answered if erasure not in {None, "requested"} else None,
        statements=tuple(said.get((row["handoff"], row["recipient"]), ())),
    )  # fmt: skip


def _within(begins: datetime | None, ends: datetime | None, at: datetime) -> bool:
    return begins is not None and begins <= at and (ends is None or at < ends)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
