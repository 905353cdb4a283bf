"""Memory, file descriptors and threads do not grow over many requests, good and bad ones.

    python -m benchmarks.soak [--requests 100000] [--plant-leak]

Measured from the first tenth of the requests on. With ``--plant-leak`` the service keeps a kilobyte of each request,
and the check has to fail. Ends with 1 where something grew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks.load import Outcome, closed, post
from benchmarks.service import Service, serving
from tests import toys

_CONNECTIONS = 16
_MOST_MB = 10
_STEPS = 10
_LEAKING = """
import sys
from app import answers
from app.__main__ import main
make, kept = answers.prediction, []
def leaking(*arguments, **options):
    kept.append(bytearray(1024))
    return make(*arguments, **options)
answers.prediction = leaking
sys.exit(main([]))
"""


def until(count: int) -> Callable[[Outcome], bool]:
    """Go on for so many answers."""
    return lambda outcome: outcome.statuses.total() < count


def step(service: Service, requests: int) -> Outcome:
    """Send good images, and a tenth of broken ones over other connections."""
    image = toys.plain(255, (64, 64), "JPEG")
    bad = closed(service.port, post("/predict", image[: len(image) // 2]), 4, until(requests // 10))
    good = closed(service.port, post("/predict", image), _CONNECTIONS, until(requests - requests // 10))
    if bad.failures or good.failures or set(good.statuses) != {200} or set(bad.statuses) != {422}:
        raise SystemExit(f"unexpected answers: {good}; {bad}")
    return good


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000, help="requests to send (default: %(default)s)")
    parser.add_argument("--plant-leak", action="store_true", help="leak a kilobyte per request, which must be found")
    arguments = parser.parse_args()
    with serving(code=_LEAKING if arguments.plant_leak else "") as service:
        print("  requests   memory   files  threads   answers/s")
        seen = []
        for index in range(1, _STEPS + 1):
            outcome = step(service, arguments.requests // _STEPS)
            seen.append((service.resident_mb(), service.open_files(), service.threads()))
            rate = outcome.statuses.total() / (outcome.last - outcome.started)
            memory, files, threads = seen[-1]
            print(f"{index * arguments.requests // _STEPS:10,} {memory:5.0f} MB {files:7} {threads:8} {rate:11.0f}")
    grown = seen[-1][0] - seen[0][0]
    print(f"grown by {grown:.1f} MB from the first tenth to the last; {_MOST_MB} are allowed")
    return int(grown > _MOST_MB or seen[-1][1] > seen[0][1] or seen[-1][2] > seen[0][2])


if __name__ == "__main__":
    sys.exit(main())
