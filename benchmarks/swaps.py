"""Hot swap under load: versions are published while clients ask, a quarter of them corrupt.

    python -m benchmarks.swaps [--swaps 100] [--requests 100000]

Every answer has to be a 200 that is, byte for byte, what a service that does nothing else answers with the version it
names, and a corrupt version must never answer. Ends with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from app.registry.layout import FILE
from benchmarks.load import Outcome, closed, post
from benchmarks.service import Service, ask, serving
from tests import toys

_MODEL = "toy"
_CONNECTIONS = 8
_KEPT = 4
_PATIENCE_S = 60


def artifact(number: int) -> bytes:
    """Make a version: each answers differently."""
    return toys.artifact(offset=0.2 + 0.6 * (number % 97) / 97, gain=4 + number % 7)


def corrupt(data: bytes, chance: random.Random) -> bytes:
    """Damage a file: cut, emptied, or one bit flipped."""
    kind = chance.randrange(3)
    if kind == 0:
        return data[: chance.randrange(1, len(data))]
    if kind == 1:
        return b""
    damaged = bytearray(data)
    damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def publish(root: Path, number: int, data: bytes) -> None:
    """Put a version into the repository by one rename, and take an old one away by another."""
    staged = root / f".staging-{number}"
    staged.mkdir()
    (staged / FILE).write_bytes(data)
    staged.rename(root / _MODEL / str(number))
    if (old := root / _MODEL / str(number - _KEPT)).exists():
        old.rename(root / f".old-{number - _KEPT}")


def references(numbers: list[int], image: bytes) -> frozenset[bytes]:
    """What each version answers, as a service says that is asked nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            toys.publish(Path(folder), _MODEL, number, artifact(number))
        with serving(folder) as service:
            connection = service.connect()
            return frozenset(ask(connection, f"/predict?model={_MODEL}:{number}", image) for number in numbers)


class Publisher(threading.Thread):
    """Publishes version after version, each good one when the last good one answers."""

    def __init__(self, root: Path, service: Service, image: bytes, swaps: int) -> None:
        super().__init__(daemon=True)
        self.swap_s: list[float] = []
        self.failure = ""
        self._root, self._service, self._image, self._swaps = root, service, image, swaps

    def run(self) -> None:
        """Publish all of them."""
        chance = random.Random(0)
        for number in range(2, self._swaps + 2):
            if is_good(number):
                publish(self._root, number, artifact(number))
                self._wait_for(number)
            else:
                publish(self._root, number, corrupt(artifact(number), chance))

    def _wait_for(self, number: int) -> None:
        connection, start = self._service.connect(), time.monotonic()
        while json.loads(ask(connection, "/predict?features=false", self._image))["version"] != number:
            if time.monotonic() - start > _PATIENCE_S:
                self.failure = f"version {number} was not taken up within {_PATIENCE_S} s"
                return
            time.sleep(0.02)
        self.swap_s.append(time.monotonic() - start)


def is_good(number: int) -> bool:
    """Tell the versions that are sound from those that are corrupt, a quarter."""
    return number % 4 != 0


def main() -> int:
    """Swap, and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=__doc__.partition("\n")[0])
    parser.add_argument("--swaps", type=int, default=100, help="versions to publish (default: %(default)s)")
    parser.add_argument(
        "--requests", type=int, default=100_000, help="requests in all, at least (default: %(default)s)"
    )
    arguments = parser.parse_args()
    # White: the toys' means are then exact, whatever the batch they are computed in.
    image = toys.plain(255, (64, 64))
    good = [number for number in range(1, arguments.swaps + 2) if is_good(number)]
    expected = references(good, image)
    wrong = []

    def judge(_: int, body: bytes) -> None:
        if body not in expected:
            wrong.append(body)

    with tempfile.TemporaryDirectory() as folder:
        toys.publish(Path(folder), _MODEL, 1, artifact(1))
        with serving(folder, MODELS_POLL_S=0.1, LOG_LEVEL="error") as service:
            publisher = Publisher(Path(folder), service, image, arguments.swaps)
            publisher.start()

            def go_on(outcome: Outcome) -> bool:
                return publisher.is_alive() or outcome.statuses.total() < arguments.requests

            outcome = closed(service.port, post("/predict", image), _CONNECTIONS, go_on, judge)
    corrupted = arguments.swaps - len(good) + 1
    print(f"swaps: {len(publisher.swap_s)} taken up, {corrupted} corrupt versions refused")
    print(f"from publishing to answering: median {statistics.median(publisher.swap_s):.2f} s")
    print(f"requests: {outcome}; not the reference of a published version: {len(wrong)}")
    print(f"longest time without an answer: {1000 * outcome.longest_gap_s:.0f} ms", flush=True)
    if publisher.failure:
        print(publisher.failure)
    failed = outcome.statuses.total() - outcome.statuses[200] + outcome.failures.total()
    return int(bool(failed or wrong or publisher.failure or len(publisher.swap_s) != len(good) - 1))


if __name__ == "__main__":
    sys.exit(main())
