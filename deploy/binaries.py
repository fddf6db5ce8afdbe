"""Caddy and Prometheus for `make cluster`: built once from their pinned sources through Go's module proxy, and kept."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT
from dataclasses import dataclass
from pathlib import Path

BUILD_S = 1500.0


@dataclass(frozen=True, slots=True)
class Source:
    """A command's package with its version; `tags` leave out what is not needed here."""

    name: str
    package: str
    version: str
    tags: str = ""


CADDY = Source("caddy", "github.com/caddyserver/caddy/v2/cmd/caddy", "v2.11.9")
# Without the ways to find machines in thirty clouds: they are most of it.
PROMETHEUS = Source("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", "v0.316.0", "remove_all_sd")


class NotBuilt(Exception):
    """A program cannot be had here. The message says why."""


def kept(source: Source) -> Path:
    """Where it lies once it is built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "spean" / f"{source.name}-{source.version}"


async def built(source: Source) -> Path:
    """The program, built where it is not there yet: at low priority, within `BUILD_S`. Raises NotBuilt."""
    program = kept(source)
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NotBuilt("Go is not installed (apt-get install golang, or brew install go)")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent, prefix="building-") as folder:
        log = Path(folder) / "log"
        command = ["nice", "go", "install", "-trimpath", "-ldflags=-s -w"]
        command += [f"-tags={source.tags}"] * bool(source.tags) + [f"{source.package}@{source.version}"]
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=out, stderr=STDOUT, env={**os.environ, "GOBIN": folder}
            )
        try:
            await asyncio.wait_for(process.wait(), BUILD_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        if process.returncode != 0:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NotBuilt(f"its build failed: {' '.join(last) or 'it took too long'}")
        (Path(folder) / source.name).rename(program)
    return program
