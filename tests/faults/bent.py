"""Time and disks that can be bent: a library of our own, loaded before libc into each process (needs a C compiler and Linux)."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("bent.c")


def missing() -> str | None:
    """What this machine lacks; None when it can be done here."""
    if sys.platform != "linux":
        return "that takes Linux"
    return None if shutil.which("cc") else "cc missing; add with: apt-get install -y gcc libc6-dev"


@dataclass(frozen=True, slots=True)
class Bend:
    """Of one process and its children, while they run with this `environment`."""

    library: Path
    told: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "SPEAN_BENT": str(self.told)}

    def clock(self, ahead_s: int) -> None:
        """Their time of day is that far ahead (negative: behind); what measures durations goes on as it was."""
        self._write(0, ahead_s)

    def disk(self, slow_ms: int) -> None:
        """Whatever has to be durable waits for so long."""
        self._write(1, slow_ms)

    def _write(self, place: int, number: int) -> None:
        opened = os.open(self.told, os.O_WRONLY)
        try:
            os.pwrite(opened, struct.pack("=q", number), 8 * place)
        finally:
            os.close(opened)


def bends(folder: Path, names: Iterable[str]) -> Mapping[str, Bend]:
    """One for each of these names, straight; none where this machine lacks what it takes (`missing`)."""
    if missing() is not None:
        return {}
    at = folder / "bent"
    at.mkdir(mode=0o755)
    library = at / "bent.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    made = {name: Bend(library, at / name) for name in names}
    for bend in made.values():
        # Read by the account that runs PostgreSQL as well.
        bend.told.write_bytes(struct.pack("=qq", 0, 0))
        bend.told.chmod(0o644)
    library.chmod(0o755)
    return made
