"""What an installation on one machine needs before anybody uses it: time to start, memory, disk."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from importlib import metadata
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.ground import REPEATS, ROOT, process
from deploy.ports import free_port

SETTLE_S = 5.0
_MB = 1_000_000


async def measure() -> list[Figure]:
    first = Figure("first start, sample network included", "embedded", "s", "less", "", 90)
    again = Figure("start again", "embedded", "s", "less", "", 5)
    memory = Figure("idle, everything and PostgreSQL", "embedded", "MB", "less", "", 350)
    disk = Figure("installed environment", "", "MB", "less", "")
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory(prefix="spean-bench-") as made:
            folder = Path(made)
            folder.chmod(0o755)
            first.ours.append((await _up(folder))[0])
            seconds, megabytes = await _up(folder)
            again.ours.append(seconds)
            memory.ours.append(megabytes)
    disk.ours.append(_environment())
    return [first, again, memory, disk]


async def _up(folder: Path) -> tuple[float, float]:
    """`spean up`: seconds until it is, and megabytes a while later, each page of memory counted once (PSS)."""
    environment = {
        "SPEAN_DATA": str(folder / "data"), "SPEAN_KEYS": str(folder / "keys"), "SPEAN_PORT": str(free_port()),
    }  # fmt: skip
    began = time.perf_counter()
    async with process(["services.cli", "up"], environment, b"Spean is up", folder / "up.log") as started:
        seconds = time.perf_counter() - began
        await asyncio.sleep(SETTLE_S)
        root = psutil.Process(started.pid)
        parts = [one.memory_full_info() for one in (root, *root.children(recursive=True))]
        return seconds, sum(getattr(part, "pss", part.uss) for part in parts) / _MB


def _environment() -> float:
    """Megabytes of every package that an installation gets, as they lie here."""
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M)
    total = 0
    for name in names:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        total += sum(path.stat().st_size for one in files if (path := Path(str(one.locate()))).is_file())
    return total / _MB
