"""``python -m benchmarks.comparison``: the service and its peers, each doing the same work on the same cores.

Every round starts one server after the other, and measures the limit (the same work in one process, without HTTP) right
before each, so that other load on the machine affects both alike. The figures are medians over the rounds. A server is
timed only if its answer is what the model gives in process.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app import images
from app.model import Model
from benchmarks import limit, networks, pictures, wrk
from benchmarks.peers import PEERS, DidNotStart, Peer
from benchmarks.processes import memory_mb
from benchmarks.service import serving
from benchmarks.wrk import Target

REGIMES = {
    "tiny": ("batchnorm", 32, (32, 32, 0.9)),
    "light": ("batchnorm", 64, (64, 64, 1.5)),
    "small": ("plain", 128, (128, 128, 5.8)),
    "photo": ("plain", 128, (640, 480, 55)),
    "large": ("plain", 128, (4000, 3000, 1200)),
}
"""Trunk and side of the model; width, height and kilobytes of the image."""

OURS = "multipool"
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Measurement:
    """One server in one round."""

    server: str
    regime: str
    connections: int
    per_second: float
    of_limit: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    limit_cpu_ms: float
    memory_mb: float
    start_s: float


def main() -> None:
    """Measure, print, and keep the figures."""
    options = _options()
    chosen = [peer for peer in PEERS if peer.name in options.peers]
    for peer in chosen:
        peer.install()
    versions = {peer.name: f"{peer.package} {peer.version()}" for peer in chosen}
    print("\n".join(versions.values()))
    results: list[Measurement] = []
    for number in range(1, options.rounds + 1):
        for regime in options.regimes:
            for server in [None, *chosen]:
                try:
                    found = list(measure(server, regime, options.connections, options.seconds))
                except DidNotStart as error:
                    print(f"round {number} {regime}: {error}", flush=True)
                    continue
                results += found
                for one in found:
                    print(f"round {number} {one.regime} {one.server} {one.connections}: {one.of_limit:.2f}", flush=True)
                options.output.write_text(
                    json.dumps({"versions": versions, "results": [asdict(one) for one in results]})
                )
    show(results)


def show(results: list[Measurement]) -> None:
    """Print the medians."""
    table = Table(
        "server", "regime", "connections", "÷ limit", "p50 ms", "p99 ms", "CPU ms", "− limit", "MB", "start s"
    )
    for key in dict.fromkeys((one.regime, one.connections, one.server) for one in results):
        rows = [one for one in results if (one.regime, one.connections, one.server) == key]

        def median(name: str, rows: list[Measurement] = rows) -> float:
            return statistics.median(getattr(one, name) for one in rows)

        own = statistics.median(one.cpu_ms - one.limit_cpu_ms for one in rows)
        table.add_row(
            key[2],
            key[0],
            str(key[1]),
            f"{median('of_limit'):.2f}",
            f"{median('p50_ms'):.1f}",
            f"{median('p99_ms'):.1f}",
            f"{median('cpu_ms'):.2f}",
            f"{own:.2f}",
            f"{median('memory_mb'):.0f}",
            f"{median('start_s'):.1f}",
        )
    Console(width=120).print(table)


def prepare(regime: str) -> tuple[Path, Path]:
    """Make the model and the image of a regime, once."""
    trunk, side, picture = REGIMES[regime]
    image = networks.HOME / f"{regime}.jpg"
    networks.HOME.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        image.write_bytes(pictures.jpeg(*picture))
    return networks.repository(trunk, side), image


def measure(peer: Peer | None, regime: str, connections: list[int], seconds: int) -> Iterator[Measurement]:
    """Start a server, the service itself for None, and measure it and the limit in turns."""
    model, image = prepare(regime)
    before = time.monotonic()
    with _ours(model, image) if peer is None else peer.serving(model, image.read_bytes()) as target:
        start_s = time.monotonic() - before
        _check(target, model, image)
        for count in connections:
            wrk.run(target, count, 2)
            rate, cost = limit.measure(model, image, seconds)
            run = wrk.run(target, count, seconds)
            yield Measurement(
                OURS if peer is None else peer.name,
                regime,
                count,
                run.per_second,
                run.per_second / rate,
                run.p50_ms,
                run.p99_ms,
                run.cpu_ms,
                cost,
                memory_mb(target.pid),
                start_s,
            )


@contextmanager
def _ours(model: Path, image: Path) -> Iterator[Target]:
    body, headers = wrk.form(image.read_bytes())
    with serving(str(model.parents[2])) as service:
        target = Target(service.port, service.pid, "/predict", body, headers)
        target.ask()
        yield target


def _check(target: Target, model: Path, image: Path) -> None:
    """Check that a server answers with the same probabilities as the model in this process."""
    loaded = Model.load(model.read_bytes(), "cpu")
    expected = loaded.run(images.decode(image.read_bytes(), loaded.shape)[None]).probabilities[0]
    answer = json.dumps(target.ask())
    found = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-\d+)?", answer)]
    for value in expected.tolist():
        if not any(abs(number - value) < _TOLERANCE for number in found):
            raise SystemExit(f"{target.url} does not answer {expected.tolist()}, but {answer[:500]}")


def _options() -> argparse.Namespace:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument(
        "--peers", nargs="*", choices=names, default=names, help="other servers to measure (default: all)"
    )
    text = "sizes of image and model to measure (default: light small photo large)"
    parser.add_argument(
        "--regimes", nargs="+", choices=list(REGIMES), default=["light", "small", "photo", "large"], help=text
    )
    parser.add_argument(
        "--connections", nargs="+", type=int, default=[1, 16, 64], help="numbers of connections (default: 1 16 64)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds, whose median is shown (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="for each measurement (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=networks.HOME / "comparison.json", help="JSON file (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
