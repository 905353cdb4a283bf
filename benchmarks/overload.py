"""Goodput of the service under more load than it can serve.

    python -m benchmarks.overload [--seconds 4] [--rounds 3]

The service gets one core and the load generator the others, so that neither takes from the other; where there is a
single core, both share it. In every round the peak is found anew with a closed loop, then that rate is multiplied and
sent whether or not answers come; the figures are medians over the rounds. Goodput is the rate of 200s; what is refused
has to be refused at once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.load import Outcome, closed, open_loop, post
from benchmarks.service import serving
from tests import toys

_MULTIPLES = (0.5, 1.0, 2.0, 3.5, 7.0, 10.0)
_GOALS = {2.0: 0.9, 3.5: 0.8, 10.0: 0.6}
_REFUSAL_MS = {3.5: 10.0}
_MODEL = "eurosat-regions"


def photo() -> bytes:
    """Make a JPEG of the size of a photo on the web, 450 × 370 and 56 kB."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (37, 45, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    return toys.save(
        (coarse // 2 + random.integers(0, 60, coarse.shape, np.uint8)).astype(np.uint8), "JPEG", quality=75
    )


def for_seconds(seconds: float) -> Callable[[Outcome], bool]:
    """Make a condition that holds for this long."""
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() < end


class Figures(NamedTuple):
    """The result of one rate in one round."""

    goodput: float
    of_peak: float
    good_p50_ms: float
    good_p99_ms: float
    refused: float
    refused_p50_ms: float
    refused_p99_ms: float
    unanswered: float


def figures(outcome: Outcome, peak: float, seconds: float) -> Figures:
    """Summarise the results of one rate."""
    good = outcome.statuses[200] / max(seconds, outcome.last - outcome.started)
    sent = outcome.statuses.total() + outcome.failures.total()
    times = [1000 * outcome.percentile(status, share) for status in (200, 503) for share in (0.5, 0.99)]
    return Figures(good, good / peak, *times[:2], outcome.statuses[503] / sent, *times[2:], outcome.failures.total())


def main() -> int:
    """Measure, print, and end with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4, help="for each rate in each round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, whose median is shown (default: %(default)s)")
    arguments = parser.parse_args()
    cores, seconds, image = sorted(os.sched_getaffinity(0)), arguments.seconds, photo()
    request = post(f"/predict?model={_MODEL}", image)
    peaks, found = [], {multiple: [] for multiple in _MULTIPLES}
    with serving(cores={cores[0]}, QUEUE_SIZE=64, MAX_CONNECTIONS=4096) as service:
        os.sched_setaffinity(0, set(cores[1:]) or set(cores))
        closed(service.port, request, 16, for_seconds(2))
        for _ in range(arguments.rounds):
            peaks.append(closed(service.port, request, 16, for_seconds(seconds)).statuses[200] / seconds)
            for multiple in _MULTIPLES:
                outcome = open_loop(service.port, request, multiple * peaks[-1], seconds)
                found[multiple].append(figures(outcome, peaks[-1], seconds))
    print(f"peak, 16 connections: {statistics.median(peaks):.0f} images/s on one core; image of {len(image):,} bytes\n")
    print("  load  goodput/s  of peak   200: p50     p99   503: share     p50     p99   not answered")
    missed = [report(multiple, rounds) for multiple, rounds in found.items()]
    return int(any(missed))


def report(multiple: float, rounds: list[Figures]) -> bool:
    """Print one line; returns whether a goal was missed."""
    median = Figures(*map(statistics.median, zip(*rounds, strict=True)))
    print(
        f"{multiple:5.1f}× {median.goodput:9.0f} {median.of_peak:8.0%} {median.good_p50_ms:8.0f} ms"
        f" {median.good_p99_ms:4.0f} ms {median.refused:10.0%} {median.refused_p50_ms:6.1f} ms"
        f" {median.refused_p99_ms:4.1f} ms {median.unanswered:10.0f}"
    )
    return median.of_peak < _GOALS.get(multiple, 0) or median.refused_p99_ms > _REFUSAL_MS.get(multiple, float("inf"))


if __name__ == "__main__":
    sys.exit(main())
