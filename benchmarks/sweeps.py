"""``python -m benchmarks.sweeps``: throughput and latency against one thing at a time, each as a plot.

Connections, images per request, size of the image, workers and cores; memory and start-up against the number of models.
Writes ``docs/benchmarks/<name>.png`` and ``sweeps.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from app import cores
from benchmarks import comparison, limit, networks, pictures, wrk
from benchmarks.service import serving
from benchmarks.wrk import Target

_SECONDS = 3
_OUT = Path("docs/benchmarks")
_INK = ("#0b6e99", "#c4622d", "#5a6472")

Point = dict[str, float]


def main() -> None:
    """Measure, print and draw."""
    argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=__doc__).parse_args()
    _OUT.mkdir(parents=True, exist_ok=True)
    sweeps = {
        "connections": connections,
        "images-per-request": images_per_request,
        "image-size": image_size,
        "workers": workers,
        "models": models,
    }
    found = {name: list(sweep()) for name, sweep in sweeps.items()}
    (_OUT / "sweeps.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, points in found.items():
        Console().print(name, *points, sep="\n")
        draw(name, points)


def connections() -> Iterator[Point]:
    """Small images over more and more connections, each measured beside the limit."""
    model, image = comparison.prepare("small")
    with _target(model, wrk.form(image.read_bytes())) as ask:
        for count in track((1, 2, 4, 8, 16, 32, 64, 128, 256), "connections", transient=True):
            rate, _ = limit.measure(model, image, _SECONDS)
            run = wrk.run(ask("/predict"), count, _SECONDS)
            yield {
                "connections": count,
                "of limit": run.per_second / rate,
                "p50 ms": run.p50_ms,
                "p99 ms": run.p99_ms,
            }


def images_per_request() -> Iterator[Point]:
    """More and more images in one request, one request after the other."""
    model, image = comparison.prepare("light")
    for count in track((1, 2, 4, 8, 16, 32, 64), "images per request", transient=True):
        with _target(model, wrk.forms([image.read_bytes()] * count)) as ask:
            rate, _ = limit.measure(model, image, _SECONDS)
            run = wrk.run(ask("/predict/batch"), 1, _SECONDS)
            yield {"images per request": count, "of limit": count * run.per_second / rate, "p50 ms": run.p50_ms}


def image_size() -> Iterator[Point]:
    """JPEG files of more and more pixels into the same model."""
    model, _ = comparison.prepare("small")
    for side in track((128, 256, 512, 1024, 2048, 4096), "image size", transient=True):
        image = networks.HOME / f"side-{side}.jpg"
        if not image.exists():
            image.write_bytes(pictures.jpeg(side, side, side * side / 4000))
        with _target(model, wrk.form(image.read_bytes())) as ask:
            rate, _ = limit.measure(model, image, _SECONDS)
            run = wrk.run(ask("/predict"), 16, _SECONDS)
            yield {"megapixels": side * side / 1e6, "of limit": run.per_second / rate, "CPU ms": run.cpu_ms}


def workers() -> Iterator[Point]:
    """Processes and cores, as far as there are any."""
    model, image = comparison.prepare("light")
    there = cores.available()
    for used in sorted({1, 2, 4, 8, 16, there}):
        if used > there:
            continue
        for count in sorted({1, used}):
            with _target(model, wrk.form(image.read_bytes()), cores=set(range(used)), WORKERS=count) as ask:
                alone, crowd = (wrk.run(ask("/predict"), clients, _SECONDS) for clients in (1, 16))
            point = {"cores": used, "workers": count, "alone per s": alone.per_second, "crowd per s": crowd.per_second}
            yield {**point, "crowd p99 ms": crowd.p99_ms, "CPU ms": crowd.cpu_ms}


def models() -> Iterator[Point]:
    """More and more models in one repository."""
    model, _ = comparison.prepare("light")
    for count in track((1, 4, 16, 64, 128), "models", transient=True):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                version = Path(folder) / f"model-{number}" / "1"
                version.mkdir(parents=True)
                shutil.copy(model, version)
            start = time.monotonic()
            with serving(folder) as service:
                yield {"models": count, "ready s": time.monotonic() - start, "MB": service.resident_mb()}


@contextmanager
def _target(model: Path, request: tuple[bytes, dict[str, str]], **options: object) -> Iterator[Callable[[str], Target]]:
    """Serve one model; yields what makes a target of a path."""
    with serving(str(model.parents[2]), **options) as service:

        def target(path: str) -> Target:
            one = Target(service.port, service.pid, path, *request)
            wrk.run(one, 4, 1)
            return one

        yield target


def draw(name: str, points: list[Point]) -> None:
    """Draw one line per figure, one above the other, over the thing that was varied."""
    x, *figures = points[0]
    if name == "workers":
        x, labels = "", [f"cores: {point['cores']}\nworkers: {point['workers']}" for point in points]
        figures = ["alone per s", "crowd per s", "crowd p99 ms"]
    figure = Figure(figsize=(6, 2 * len(figures)), layout="constrained")
    axes = figure.subplots(len(figures), sharex=True, squeeze=False)[:, 0]
    for axis, title, ink in zip(axes, figures, _INK, strict=False):
        values = [point[title] for point in points]
        if name == "workers":
            axis.bar(labels, values, color=ink, width=0.5)
        else:
            axis.plot([point[x] for point in points], values, "o-", color=ink)
            axis.set_xscale("log", base=2)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylim(0, 1.1 * max(values))
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    if name != "workers":
        axis.set_xticks([point[x] for point in points], [f"{point[x]:.3g}" for point in points])
        axis.set_xlabel(x)
    figure.savefig(_OUT / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
