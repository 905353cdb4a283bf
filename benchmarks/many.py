"""Hundreds of models in one repository, more than the memory allowed to them.

    python -m benchmarks.many [--models 300] [--memory 400000000]

How long the start takes, what memory it comes to, and how soon a model answers that is loaded, and one that has to be.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from app.registry.artifacts import discover, select
from benchmarks.service import Service, ask, serving

_MODEL = "eurosat-regions"
_IMAGE = Path("examples/digit.png")
_ASKED = 40


def answer_ms(service: Service, names: list[str], times: int) -> float:
    """Median time to an answer of these models, each asked so many times in a row; the last time counts."""
    connection, image, taken = service.connect(), _IMAGE.read_bytes(), []
    for name in names:
        for _ in range(times):
            start = time.monotonic()
            ask(connection, f"/predict?model={name}&features=false", image)
        taken.append(1000 * (time.monotonic() - start))
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=300, help="models to publish (default: %(default)s)")
    parser.add_argument(
        "--memory", type=int, default=400_000_000, help="MULTIPOOL_MODELS_MEMORY_BYTES (default: %(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.models):
            version = Path(folder) / f"model-{index:04}" / "1"
            version.mkdir(parents=True)
            shutil.copy(select(discover(Path("models")), _MODEL).path, version)
        start = time.monotonic()
        with serving(folder, MODELS_MEMORY_BYTES=arguments.memory) as service:
            ready_s = time.monotonic() - start
            models = service.get("/models")["models"]
            loaded = [model["name"] for model in models if model["loaded"]]
            waiting = [model["name"] for model in models if not model["loaded"]]
            print(f"{len(models)} models, {len(loaded)} in memory, {arguments.memory / 1e6:.0f} MB allowed")
            print(f"start, every one loaded and checked once: {ready_s:.1f} s; resident {service.resident_mb():.0f} MB")
            print(f"answer of a model in memory:              {answer_ms(service, loaded[-_ASKED:], 3):.1f} ms")
            if waiting:
                print(f"answer of a model that has to be loaded:  {answer_ms(service, waiting[:_ASKED], 1):.1f} ms")
            print(f"resident after that: {service.resident_mb():.0f} MB")


if __name__ == "__main__":
    main()
