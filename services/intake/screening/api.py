"""The sender's API for a screened group: begin, send rows, finish; read the report and the entries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, model_validator

from schemas.vocabulary import Area
from services.intake.disclosure.handlers import Holder
from services.intake.screening import handlers, store
from services.intake.screening.domain import BROKEN, Column, Finding, Why
from services.intake.screening.handlers import Row
from services.intake.screening.store import Screening
from spean.auth import Caller
from spean.db import Database, Tx
from spean.geography import known_area
from spean.http import Body, Command, Reply, View, caller_with, command_with, read_reply
from spean.problem import Refusal

SCOPE = "intake:send"
# A chunk of this many short rows is some 60 kB and is taken in within a tenth of a second.
ROWS_MOST = 500
_PAGE = 1_000
router = APIRouter(tags=["screening"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]
Number = Annotated[int, Field(ge=0, le=1_000_000_000)]


class BeginBody(Body):
    """A file of a screened group; its content is its identity."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file's bytes")]
    area: Area


class RowBody(BaseModel):
    """One line: its ten values in the order of `Column`, or what is wrong with the line and, if known, where."""

    # As strict as a `Body`, whose look at open lists and times finds nothing here, five hundred times.
    model_config = Body.model_config

    line: Annotated[int, Field(ge=1, le=1_000_000_000)]
    values: Annotated[
        tuple[Annotated[str, Field(max_length=200)], ...] | None, Field(min_length=len(Column), max_length=len(Column))
    ] = None
    broken: Why | None = None
    column: Column | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.values is None) == (self.broken is None) or (self.broken is not None and self.broken not in BROKEN):
            raise ValueError
        return self

    def row(self) -> Row:
        return Row(self.line, self.values, None if self.broken is None else Finding(self.column, self.broken))


class RowsBody(Body):
    """The next rows; `from_row` is the number of the first, counted from 0 without header and blank lines."""

    from_row: Number
    rows: Annotated[tuple[RowBody, ...], Field(min_length=1, max_length=ROWS_MOST)]


class FinishBody(Body):
    rows: Number


class ScreeningView(View):
    """How far it is. `refused` rows became no entry; `doubtful` ones did, without what was not understood; of the
    `suppressed` ones the publisher withheld the citizenship."""

    id: UUID
    area: str
    rows_done: int
    entries: int
    refused: int
    doubtful: int
    suppressed: int
    finished_at: datetime | None
    version: int


class FindingView(View):
    number: int
    line: int
    column: str | None
    why: str
    refused: bool


class FindingsView(View):
    findings: tuple[FindingView, ...]


class RowEntryView(View):
    row: int
    entry: UUID


class RowEntriesView(View):
    entries: tuple[RowEntryView, ...]


def view(s: Screening) -> ScreeningView:
    return ScreeningView(
        id=s.id, area=s.area, rows_done=s.rows_done, entries=s.entries, refused=s.refused, doubtful=s.doubtful,
        suppressed=s.suppressed, finished_at=s.finished_at, version=s.version,
    )  # fmt: skip


def _reply(s: Screening, status: int = 200) -> Reply:
    return Reply(view(s), s.version, status)


@router.post("/screenings", status_code=201, response_model=ScreeningView)
async def begin(body: BeginBody, command: SenderCommand) -> Response:
    """Begin, or go on: the same content is the same screening, and the answer says how many rows are in (200 where it
    was begun before, 201 where it is new). A screened group becomes entries: never consent, never a case."""
    if not known_area(body.area):
        raise Refusal("unknown-area")

    async def work(tx: Tx) -> Reply:
        found, made = await handlers.begin(tx, body.digest, body.area)
        return _reply(found, 201 if made else 200)

    return await command.run("screening.begin", work)


@router.get("/screenings/{screening}", response_model=ScreeningView)
async def read(request: Request, screening: UUID, caller: Sender) -> Response:
    """How far a screening is."""
    async with _db(request).transaction("screening.read", org=caller.org) as tx:
        return read_reply(_reply(await store.find_screening(tx, screening)))


@router.post("/screenings/{screening}/rows", response_model=ScreeningView)
async def send_rows(request: Request, screening: UUID, body: RowsBody, command: SenderCommand) -> Response:
    """The next rows, all or none. Rows that are in already change nothing; where rows would be left out, nothing changes
    either (409): read the screening and go on from its `rows_done`."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        rows = [row.row() for row in body.rows]
        return _reply(await handlers.take_in(tx, holder.keys, screening, body.from_row, rows))

    return await command.run("screening.rows", work)


@router.post("/screenings/{screening}/finish", response_model=ScreeningView)
async def finish(screening: UUID, body: FinishBody, command: SenderCommand) -> Response:
    """That was all: `rows` is how many the file has."""

    async def work(tx: Tx) -> Reply:
        return _reply(await handlers.finish(tx, screening, body.rows))

    return await command.run("screening.finish", work)


@router.get("/screenings/{screening}/findings", response_model=FindingsView)
async def read_findings(
    request: Request, screening: UUID, caller: Sender, after: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """What was refused or doubtful, by line and column, never with the value (1,000 at a time; go on `after` the last
    number)."""
    async with _db(request).transaction("screening.findings", org=caller.org) as tx:
        await store.find_screening(tx, screening)
        rows = await store.findings(tx, screening, after, _PAGE)
    return read_reply(Reply(FindingsView(findings=tuple(FindingView(**row) for row in rows))))


@router.get("/screenings/{screening}/entries", response_model=RowEntriesView)
async def read_entries(
    request: Request, screening: UUID, caller: Sender, from_row: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """The entry of each row that was taken in (1,000 at a time); who they are is read entry by entry."""
    async with _db(request).transaction("screening.entries", org=caller.org) as tx:
        await store.find_screening(tx, screening)
        rows = await store.entries_of(tx, screening, from_row, _PAGE)
    return read_reply(Reply(RowEntriesView(entries=tuple(RowEntryView(**row) for row in rows))))


def _db(request: Request) -> Database:
    db: Database = request.app.state.door.db
    return db
