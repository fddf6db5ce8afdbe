"""Ports of this machine's loopback that nobody uses now. Somebody else may take one before it is used."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """That many, all different."""
    with contextlib.ExitStack() as held:
        tried = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in tried:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in tried]


def free_port() -> int:
    return free_ports(1)[0]
