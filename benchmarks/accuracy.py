"""Accuracy through the running service: each image is sent to ``POST /predict`` as it lies on the disk."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.service import Service, ask, serving

_CONNECTIONS = 4


def accuracy(service: Service, model: str, files: list[Path]) -> float:
    """Share of the files whose most probable label is the name of their folder."""

    def share(files: list[Path]) -> int:
        connection = service.connect()
        path = f"/predict?model={model}&features=false&top=1"
        return sum(json.loads(ask(connection, path, file.read_bytes()))["label"] == file.parent.name for file in files)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return sum(pool.map(share, [files[i::_CONNECTIONS] for i in range(_CONNECTIONS)])) / len(files)


def main() -> None:
    """Print one line per model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="Accuracy over HTTP.")
    parser.add_argument("folder", type=Path, help="holds <class>/* images")
    parser.add_argument("models", nargs="+", metavar="model")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.glob("*/*") if path.is_file())
    if not files:
        parser.error(f"{arguments.folder} holds no <class>/* images")
    with serving() as service:
        for model in arguments.models:
            start = time.monotonic()
            found = accuracy(service, model, files)
            rate = len(files) / (time.monotonic() - start)
            print(f"{model:<24} {found:.4f} of {len(files):,} images, {rate:.0f} images/s")


if __name__ == "__main__":
    main()
