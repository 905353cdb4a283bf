"""``make bench``: start-up, memory, and the service against the same work in one process without HTTP.

Rounds of both are interleaved, so that other load on the machine affects both alike; the figures are medians. The
service's own cost is its processor time per request, read from the operating system, minus that of the limit.
``python -m benchmarks.comparison`` compares it with other servers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from rich.progress import track

from app import cores
from benchmarks import comparison, limit, wrk
from benchmarks.service import ask, serving
from benchmarks.wrk import Target

_ROUNDS = 3
_SECONDS = 3
_STARTS = 7


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    models = len(list(Path("models").iterdir()))
    starts = [_start() for _ in track(range(_STARTS), "start", transient=True)]
    first, memory = (statistics.median(values) for values in zip(*starts, strict=True))
    print(f"{cores.available()} cores, {models} models: first answer after {first:.2f} s, {memory:.0f} MB resident\n")
    print("own cost per request, beyond decoding and inference (32×32 model, image of 0.9 kB, 16 connections)")
    for name, write in (("raw", wrk.raw), ("multipart", wrk.form)):
        own = [_own_cost(write) for _ in track(range(_ROUNDS), name, transient=True)]
        print(f"  {name:10} {statistics.median(own):.2f} ms")
    print()
    results = [
        one
        for _ in track(range(_ROUNDS), "rounds", transient=True)
        for regime in ("light", "small", "photo")
        for one in comparison.measure(None, regime, [1, 16, 64], _SECONDS)
    ]
    comparison.show(results)


def _start() -> tuple[float, float]:
    """Seconds from the start to the first answer, and memory in MB then."""
    image = Path("examples/digit.png").read_bytes()
    start = time.monotonic()
    with serving() as service:
        ask(service.connect(), "/predict", image)
        return time.monotonic() - start, service.resident_mb()


def _own_cost(write: wrk.Write) -> float:
    model, image = comparison.prepare("tiny")
    body, headers = write(image.read_bytes())
    with serving(str(model.parents[2])) as service:
        target = Target(service.port, service.pid, "/predict", body, headers)
        wrk.run(target, 16, 1)
        _, cost = limit.measure(model, image, _SECONDS)
        return wrk.run(target, 16, _SECONDS).cpu_ms - cost


if __name__ == "__main__":
    main()
