"""Telling an organisation that something waits: an e-mail with a link to its inbox and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib
import asyncpg
from opentelemetry.trace import SpanKind

from schemas import events as e
from schemas.registry import DELIVERIES
from services.notify.deliveries import store
from spean import telemetry
from spean.clock import clear_due, set_due
from spean.db import Database, Tx
from spean.event import Event
from spean.ids import opaque_id
from spean.outbox import say

# Kind of due row: a mail to be sent. Its subject is the delivery.
SEND = "delivery"
# 5 s, 30 s, 2 min, 10 min, 1 h, 4 h: a mail server's bad hour passes; after that the inbox itself has long escalated.
RETRY_S = (5, 30, 120, 600, 3_600, 14_400)
# The whole conversation: less than the clock's claim, so that no second clock sends it as well.
SMTP_LIMIT_S = 10
NO_SERVER_LOOK_AGAIN_S = 3_600


@dataclass(frozen=True, slots=True)
class Mail:
    """Where mail goes out, from whom, and the inbox that it links to. `server` empty: nothing is sent, mails wait."""

    server: str
    sender: str
    inbox: str

    @property
    def domain(self) -> str:
        """The sender's, also where a name stands before its address."""
        return parseaddr(self.sender)[1].rpartition("@")[2]


async def something_waits(tx: Tx, event: Event, organisation: UUID, until: datetime, coordinator: UUID | None) -> None:
    """Prepare a delivery for an event, once, however often the event is said. After `until` it is told to nobody: a log
    that is read again, or a mail server that comes back after a week, must not send what nobody waits for. `coordinator`
    sees what became of it."""
    id_ = opaque_id()
    if await store.insert_delivery(tx, id_, event.id, organisation, until, coordinator):
        await set_due(tx, SEND, id_, tx.now)


async def deliver(db: Database, mail: Mail, id_: UUID) -> None:
    """The clock: send one mail. The server is spoken to outside any transaction; what is about to go out is noted before.

    Where the process dies in between, nobody knows whether it went out: it is sent once more, under the same Message-ID,
    by which a mail system knows the second one. Where that happens again, it is parked: a person has to look.
    """
    async with db.transaction("delivery.look") as tx:
        row = await store.lock_delivery(tx, id_)
        if row is None or row["state"] not in {"waiting", "sending"}:
            await clear_due(tx, SEND, id_)
            return
        tx.causation = row["event"]  # what it tells of: known again by that, should this database be restored
        if row["until"] < tx.now:
            await store.set_delivery(tx, id_, "lapsed", row["tries"])
            await clear_due(tx, SEND, id_)
            _count(tx, row, "lapsed")
            return
        address = await store.find_address(tx, row["organisation"])
        if address is None:
            await store.set_delivery(tx, id_, "parked", row["tries"])
            await clear_due(tx, SEND, id_)
            # The coordinator sees it; whoever runs the mail server has nothing to mend.
            _count(tx, row, "no-address")
            return
        if not mail.server:
            await set_due(tx, SEND, id_, tx.now + timedelta(seconds=NO_SERVER_LOOK_AGAIN_S))
            return
        if row["state"] == "sending" and row["interrupted"]:
            await _park(tx, id_, row["organisation"], row["tries"] + 1)
            _count(tx, row, "parked")
            return
        await store.set_sending(tx, id_)
    with telemetry.step("deliver mail", SpanKind.CLIENT):
        sent = await _send(mail, address, id_)
    async with db.transaction("delivery.done", causation=row["event"]) as tx:
        _count(tx, row, await _record(tx, id_, row["organisation"], row["tries"] + 1, sent=sent))


def _count(tx: Tx, row: asyncpg.Record, outcome: str) -> None:
    """For who watches: what became of a delivery (a row of it), and how long after its reason."""
    telemetry.add("spean.deliveries", outcome=outcome)
    if outcome != "failed":
        telemetry.record("spean.delivery.age", (tx.now - row["created_at"]).total_seconds(), outcome=outcome)


async def waiting(tx: Tx) -> None:
    """For who watches: what is not finished, and since when."""
    unfinished = await store.unfinished(tx)
    telemetry.forget(("spean.deliveries.waiting", "spean.deliveries.age"))
    for row in unfinished:
        telemetry.show("spean.deliveries.waiting", row["count"], state=row["state"])
        telemetry.show("spean.deliveries.age", (tx.now - row["oldest"]).total_seconds(), state=row["state"])


async def _record(tx: Tx, id_: UUID, organisation: UUID, tries: int, *, sent: bool) -> str:
    """Returns what became of it: `sent`, `failed` (it is tried again), `parked`."""
    if sent:
        await store.set_delivery(tx, id_, "sent", tries)
        await clear_due(tx, SEND, id_)
        await say(tx, DELIVERIES, id_, e.DeliverySucceededV1(organisation=organisation))
        return "sent"
    if tries > len(RETRY_S):
        await _park(tx, id_, organisation, tries)
        return "parked"
    await store.set_delivery(tx, id_, "waiting", tries)
    await set_due(tx, SEND, id_, tx.now + timedelta(seconds=RETRY_S[tries - 1]))
    await say(tx, DELIVERIES, id_, e.DeliveryFailedV1(organisation=organisation, tries=tries))
    return "failed"


async def _park(tx: Tx, id_: UUID, organisation: UUID, tries: int) -> None:
    await store.set_delivery(tx, id_, "parked", tries)
    await clear_due(tx, SEND, id_)
    await say(tx, DELIVERIES, id_, e.DeliveryParkedV1(organisation=organisation, tries=tries))


def message(mail: Mail, address: str, id_: UUID) -> EmailMessage:
    """Says only that something waits. No id of ours, no number, no word about anybody; the Message-ID is a digest of the
    delivery's, the same at every try."""
    made = EmailMessage()
    digest = hashlib.sha256(b"spean message " + id_.bytes).hexdigest()[:32]
    made["Message-ID"] = f"<{digest}@{mail.domain}>"
    made["From"], made["To"], made["Subject"] = mail.sender, address, "Something waits in your inbox"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(f"Something waits in your inbox.\n\n{mail.inbox}\n")
    return made


async def _send(mail: Mail, address: str, id_: UUID) -> bool:
    """True when the server has taken it. `smtps://` is TLS from the start; a password never goes out without TLS; we greet
    with the sender's domain, for this machine's name is nobody's business."""
    server = urlsplit(mail.server)
    try:
        async with asyncio.timeout(SMTP_LIMIT_S):
            await aiosmtplib.send(
                message(mail, address, id_), hostname=server.hostname, port=server.port,
                local_hostname=mail.domain, use_tls=server.scheme == "smtps",
                start_tls=True if server.username and server.scheme != "smtps" else None,
                username=unquote(server.username) if server.username else None,
                password=unquote(server.password) if server.password else None,
            )  # fmt: skip
    except (aiosmtplib.SMTPException, OSError):
        return False
    return True
