"""A real SMTP server for tests."""

from __future__ import annotations

import asyncio
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from services.notify.deliveries.handlers import Mail

INBOX = "https://spean.example.org/referral/"


class Mailbox:
    """A real SMTP server in a thread of its own. `answer` None: it takes every mail; else it says that."""

    def __init__(self) -> None:
        self.answer: str | None = None
        self.mails: list[Envelope] = []
        self.greeted: list[str] = []
        self.server = ""
        # Not set: the answer to what was taken does not arrive.
        self.taken = threading.Event()
        self.taken.set()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        del server
        self.greeted.append(str(session.host_name))
        if self.answer is not None:
            return self.answer
        self.mails.append(envelope)
        await asyncio.to_thread(self.taken.wait)
        return "250 taken"

    @property
    def mail(self) -> Mail:
        return Mail(self.server, "no-reply@spean.example.org", INBOX)


class AnyPort(Controller):
    """Lets the system choose the port, and looks at the one that was chosen."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
