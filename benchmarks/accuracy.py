"""Accuracy through the running service: each image is sent to ``POST /predict`` as it lies on the disk."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.service import Service, ask, serving
from model_export import sources
from model_export.sources.listing import File

_CONNECTIONS = 4
_SPLITS = ("test", "validation", "train")


def accuracy(service: Service, model: str, files: list[File], labels: list[str]) -> float:
    """Share of the files whose most probable label is that of their class."""

    def share(files: list[File]) -> int:
        connection = service.connect()
        path = f"/predict?model={model}&features=false&top=1"
        return sum(json.loads(ask(connection, path, file.read()))["label"] == labels[file.label] for file in files)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return sum(pool.map(share, [files[i::_CONNECTIONS] for i in range(_CONNECTIONS)])) / len(files)


def main() -> None:
    """Print one line per model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="Accuracy over HTTP.")
    parser.add_argument("data", help="as for training; of several splits, the test images, else those of validation")
    parser.add_argument("models", nargs="+", metavar="model")
    parser.add_argument("--repository", default="models", help="where the models lie (default: models)")
    arguments = parser.parse_args()
    listing = sources.find(arguments.data)
    files = next(listing.files[split] for split in _SPLITS if split in listing.files)
    with serving(arguments.repository) as service:
        for model in arguments.models:
            labels = list(listing.labels)
            if sources.numbered(arguments.data):
                connection = service.connect()
                connection.request("GET", f"/models/{model}")
                labels = json.loads(connection.getresponse().read())["labels"]
            start = time.monotonic()
            found = accuracy(service, model, files, labels)
            rate = len(files) / (time.monotonic() - start)
            print(f"{model:<24} {found:.4f} of {len(files):,} images, {rate:.0f} images/s")


if __name__ == "__main__":
    main()
