"""What is known to go wrong outside the program: each is told as a sentence of its own."""

from __future__ import annotations

import httpx

from schemas.versions import BrokenChain
from services.cli.asyncapi import Untold
from services.cli.backup import NoBackup
from services.cli.bootstrap import OtherKeys
from services.cli.client import ApiProblem
from services.cli.connected import NotRunning
from services.cli.dead_letters import NotDiscarded
from services.cli.holder_files import NotAdded
from services.cli.installation import CannotListen, PartEnded
from services.cli.keys_turn import NotOurs
from services.cli.people import NoLink
from services.cli.pg_tools import ToolFailed
from services.cli.sample import NeverFinished
from services.cli.screen import CannotRead
from services.cli.trace import NoSuchReferral
from services.intake.keystore.rewrap import KeysInUse, NotChanged
from spean.ask import certificate_refused
from spean.bus import BusError
from spean.db import DatabaseProblem
from spean.embedded import EmbeddedError
from spean.lives import Behind
from spean.provision import BehindCode, MigrationChanged
from spean.settings import WrongSettings
from spean.turning import NotAKey, StillTurning

KNOWN = (
    DatabaseProblem, httpx.TransportError, NotOurs, NotAKey, StillTurning, KeysInUse, NotChanged,
    BrokenChain, Untold, WrongSettings, EmbeddedError, BusError, MigrationChanged, BehindCode, CannotListen, PartEnded,
    OtherKeys, NeverFinished, CannotRead, ApiProblem,
    NotRunning, NotAdded, NoSuchReferral, NotDiscarded, NoLink, NoBackup, ToolFailed, Behind,
)  # fmt: skip
# By class of SQLSTATE; the rest is a fault of ours, told with its transaction and state.
_HINTS = {
    "08": "PostgreSQL does not answer: check SPEAN_POSTGRES, and that it is up",
    "28": "PostgreSQL refuses the sign-in: check SPEAN_POSTGRES, and that the keys folder belongs to this database",
    "3D": "the database is not there yet: run spean migrate",
    "42": "this account may not do that: spean migrate needs one that may create roles and databases",
    "57": "PostgreSQL is starting or stopping: try again in a moment",
}


def sentence(problem: Exception) -> str:
    """One of `KNOWN`, for who gave the command."""
    if isinstance(problem, DatabaseProblem):
        return f"{_HINTS.get(problem.sqlstate[:2], 'the database refused')} ({problem})"
    if isinstance(problem, httpx.TransportError):
        url = problem.request.url
        at = f"{url.scheme}://{url.netloc.decode()}"
        if certificate_refused(problem):
            return f"{at} shows a certificate that this machine does not trust: name who signed it in SSL_CERT_FILE"
        return f"nothing answers at {at} ({type(problem).__name__}): is Spean up? (make up)"
    return str(problem)
