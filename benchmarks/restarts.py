"""Workers renewed and killed under load.

    python -m benchmarks.restarts [--renewals 20] [--requests 50000] [--kills 5]

Renewing (SIGHUP) must not lose a single request. A worker that is killed takes what it was answering with it, no more:
at most as many requests as there are connections fail, none is refused, and the other worker answers meanwhile. Ends
with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time

from benchmarks.load import Outcome, closed, post
from benchmarks.service import Service, serving
from tests import toys

_CONNECTIONS = 8
_WORKERS = 2
_PATIENCE_S = 60
_LONGEST_GAP_S = 2


def renew(service: Service) -> bool:
    """Have all workers renewed; returns whether they were, in time."""
    before = service.workers()
    os.kill(service.pid, signal.SIGHUP)
    return _wait_until(lambda: len(service.workers()) == _WORKERS and not service.workers() & before)


def kill(service: Service) -> bool:
    """Kill one worker; returns whether it was replaced in time."""
    before = service.workers()
    victim = random.choice(sorted(before))
    os.kill(victim, signal.SIGKILL)
    return _wait_until(lambda: len(service.workers() - {victim}) == _WORKERS)


def _wait_until(condition) -> bool:  # noqa: ANN001  # a function without arguments
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def under_load(service: Service, action, times: int, requests: int) -> tuple[Outcome, int]:  # noqa: ANN001
    """Repeat an action while clients send requests; returns their results, and how often the action worked."""
    worked = []

    def act() -> None:
        for _ in range(times):
            worked.append(action(service))
            time.sleep(0.5)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    request = post("/predict", toys.plain(255, (64, 64)))
    outcome = closed(
        service.port, request, _CONNECTIONS, lambda so_far: thread.is_alive() or so_far.statuses.total() < requests
    )
    return outcome, sum(worked)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__.partition("\n")[0])
    parser.add_argument("--renewals", type=int, default=20, help="rolling restarts (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=50_000, help="requests in all, at least (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="workers to kill (default: %(default)s)")
    arguments = parser.parse_args()
    with serving(WORKERS=_WORKERS, LAME_DUCK_S=1, LOG_LEVEL="error") as service:
        _wait_until(lambda: len(service.workers()) == _WORKERS)
        time.sleep(1)
        renewed, worked = under_load(service, renew, arguments.renewals, arguments.requests)
        print(
            f"{worked} renewals of {_WORKERS} workers: {renewed}; longest time without an answer: "
            f"{1000 * renewed.longest_gap_s:.0f} ms",
            flush=True,
        )
        killed, replaced = under_load(service, kill, arguments.kills, 0)
        print(
            f"{replaced} workers killed and replaced: {killed}; longest time without an answer: "
            f"{1000 * killed.longest_gap_s:.0f} ms"
        )
    lost = killed.failures.total()
    failed = renewed.failures.total() or set(renewed.statuses) != {200} or worked != arguments.renewals
    refused = killed.failures["ConnectionRefusedError"]
    return int(
        bool(failed)
        or replaced != arguments.kills
        or lost > arguments.kills * _CONNECTIONS
        or bool(refused)
        or killed.longest_gap_s > _LONGEST_GAP_S
    )


if __name__ == "__main__":
    sys.exit(main())
