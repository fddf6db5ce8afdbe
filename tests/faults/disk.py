"""A disk that can be filled: the data folder on a small file system of its own (Linux, as root)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.cluster import Cluster, passed
from tests.faults.probe import Probe
from tests.faults.schedule import Fault, Recovery

# PostgreSQL keeps up to 1 GiB of its log; what is not used costs no memory.
SIZE_MIB = 2_048
PIECE_BYTES = 1 << 20
FULL, FULL_S = "fill the disk", 8.0


@contextmanager
def small_disk(folder: Path) -> Iterator[Mapping[str, Fault]]:
    """While it is mounted at the (empty) folder: the fault of filling it. None where this account may not mount."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=755", "spean-faults", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        yield {}
        return
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        yield {}
        return
    try:
        yield {FULL: partial(filled, folder)}
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


async def filled(folder: Path, cluster: Cluster, probe: Probe) -> Recovery:
    """No byte is left for a while, for the database and (on Kafka) for the brokers. Then there is room again; whoever has
    ended meanwhile is started, as a supervisor does."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PIECE_BYTES))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    try:
        await passed(FULL_S)
    finally:
        ballast.unlink()
    began = time.monotonic()
    if not cluster.postgres.alive():
        await cluster.postgres.stop()
        await cluster.start_postgres()
    await cluster.start_ended()
    started = time.monotonic() - began
    return Recovery(started, await probe.seconds(), FULL_S)
