"""An installation in a process of its own, logging everything it can: `python -m tests.security.watched FOLDER PROOF`.

Prints one line of JSON when it answers, then runs until its input ends. `PROOF` is written to the log, to standard output
and into a span on purpose, so that whoever searches them can see that a search finds something.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from services.cli import bootstrap
from services.cli.installation import installed, running
from spean import telemetry
from spean.settings import Settings

SPANS = "spans.json"
_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Every file that was opened to be written, one a line.
WRITTEN = "written.txt"


def trace_everything(folder: Path) -> None:
    """Every span that a library makes by itself, as JSON in a file; ours go to the collector."""
    provider = TracerProvider()
    file = (folder / SPANS).open("w", encoding="utf-8", buffering=1)
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=file)))
    trace.set_tracer_provider(provider)


def note_what_is_written(folder: Path) -> None:
    """Python itself says which files are opened, whoever opens them; also those that are gone again at the end."""
    noted = (folder / WRITTEN).open("w", encoding="utf-8", buffering=1)

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & _TO_WRITE:
            noted.write(f"{os.fsdecode(arguments[0])}\n")

    sys.addaudithook(opened)


async def run(folder: Path, proof: str) -> None:
    settings = Settings(data=folder / "data", keys=folder / "keys", port=0, sample=False, fast_unsafe=True)
    async with installed(settings) as made, running(made):
        await bootstrap.administrator(made.services["referral"].db, settings)
        print(json.dumps({"url": made.url, "postgres": made.cluster.dsn("postgres")}), flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)
        (folder / proof).touch()
        (folder / proof).unlink()  # gone at once, and noted all the same
        logging.getLogger("spean.proof").error("planted", extra={"reason": proof})
        with telemetry.span("planted", reason=proof):
            print(proof, flush=True)  # noqa: T201
        telemetry.add("spean.deliveries", outcome=proof)


if __name__ == "__main__":
    telemetry.set_up_logs("DEBUG")
    for noisy in (
        "aiokafka",
        "asyncpg",
        "uvicorn",
        "uvicorn.error",
        "asyncio",
        "httpx",
        "httpcore",
        "h11",
        "aiosmtplib",
    ):
        logging.getLogger(noisy).setLevel(logging.DEBUG)
    trace_everything(Path(sys.argv[1]))
    note_what_is_written(Path(sys.argv[1]))
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
