"""What docker-compose.yml says of our own processes, read as data: their commands, in which order, with which settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "docker-compose.yml"
_DONE = "service_completed_successfully"
# What the file leaves to the environment: `${NAME:-default}`.
_LEFT = re.compile(r"\$\{(\w+):-([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Ours:
    """One container of our image: the words after `spean`, its settings, its volume of keys, and whom it waits for (name →
    compose's condition)."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    keys: str | None
    after: Mapping[str, str]

    @property
    def option(self) -> dict[str, str]:
        """Its command's options, such as `role` → `relay`."""
        return {
            name.removeprefix("--"): value
            for name, value in zip(self.command, self.command[1:], strict=False)
            if name.startswith("--")
        }


def read(file: Path = FILE, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The whole file, anchors, merges and what it leaves to the environment filled in."""
    text = file.read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(_LEFT.sub(lambda one: environment.get(one[1]) or one[2], text))
    return found


def ours(composed: Mapping[str, Any]) -> list[Ours]:
    """The containers of our own image, in the order of the file."""
    return [_ours(name, one) for name, one in composed["services"].items() if "build" in one]


def postgres_settings(composed: Mapping[str, Any]) -> str:
    """What PostgreSQL is started with: name=value, apart by spaces."""
    words: list[str] = composed["services"]["postgres"]["command"]
    return " ".join(word for word in words if "=" in word)


def first(everybody: list[Ours]) -> list[Ours]:
    """Those that do something once and end, each behind those that it waits for."""
    names = {name for one in everybody for name, condition in one.after.items() if condition == _DONE}
    done: list[Ours] = []
    waiting = [one for one in everybody if one.name in names]
    while waiting:
        there = {one.name for one in done}
        ready = [one for one in waiting if all(name in there for name in one.after if name in names)]
        if not ready:
            raise ValueError("docker-compose.yml: what is done first waits for each other")
        done += ready
        waiting = [one for one in waiting if one not in ready]
    return done


def _ours(name: str, one: Mapping[str, Any]) -> Ours:
    keys = [volume.partition(":")[0] for volume in one.get("volumes", ()) if volume.endswith(":/keys")]
    environment = {key: str(value) for key, value in one["environment"].items()}
    after = {other: how["condition"] for other, how in one.get("depends_on", {}).items()}
    return Ours(name, tuple(one["command"]), environment, keys[0] if keys else None, after)
