"""What the kit's endless loops (relay, consumer, clock, heartbeat) have in common: ending when told, and waiting after
an error."""

from __future__ import annotations

import asyncio

BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)


def end_if_cancelled() -> None:
    """To be called where a loop has caught an error. What goes wrong on the way out (a rollback on a lost connection)
    takes the place of the cancellation, and the loop would never end. Raises CancelledError."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def back_off(failures: int) -> None:
    """Wait after `failures` errors in a row before this one. Raises CancelledError, as above."""
    end_if_cancelled()
    await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
