"""Where the time of a prediction went, stage by stage (Server Timing, W3C)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.batching import Answer


def stages(ran: Sequence[Answer[Any]], read_s: float, start: float) -> dict[str, float]:
    """Give the longest time, in seconds, that any image of a request spent in each stage.

    Args:
        ran: Those that were run.
        read_s: What reading the request took.
        start: When it came, by the monotonic clock.
    """
    decoded_s = queued_s = ran_s = 0.0
    for one in ran:
        decoded_s, queued_s, ran_s = max(decoded_s, one.decoded_s), max(queued_s, one.queued_s), max(ran_s, one.ran_s)
    total_s = time.monotonic() - start
    return {"read": read_s, "decode": decoded_s, "queue": queued_s, "inference": ran_s, "total": total_s}


def server_timing(seconds: Mapping[str, float]) -> str:
    """Write the header ``Server-Timing``, in milliseconds."""
    return ", ".join([f"{stage};dur={1000 * spent:.2f}" for stage, spent in seconds.items()])
