"""Accuracy through the running service: each image file is sent to ``POST /predict`` unchanged.

With the 95 % interval of each model (Wilson 1927), and for each pair of models the exact test of McNemar (1947): how
probable it is that two equally good ones differ by as much on the images that only one of them gets right.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, combinations

import numpy as np

from app.errors import MultipoolError
from benchmarks.service import Service, ask, serving
from model_export.console.invocation import readable
from model_export.data import sources
from model_export.data.sources.listing import File
from model_export.figures.metrics import interval
from model_export.figures.paired import Paired

_CONNECTIONS = 4
_SPLITS = ("test", "validation", "train")


def right(service: Service, model: str, files: list[File], labels: list[str]) -> list[bool]:
    """For each file, whether its most probable label is that of its class; in an order that is always the same."""

    def share(files: list[File]) -> list[bool]:
        path = f"/predict?model={model}&features=false&top=1"
        with closing(service.connect()) as connection:
            return [json.loads(ask(connection, path, file.read()))["label"] == labels[file.label] for file in files]

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return list(chain(*pool.map(share, [files[i::_CONNECTIONS] for i in range(_CONNECTIONS)])))


def main() -> None:
    """Print one line per model, and one per pair."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument(
        "data",
        help="data set, as for training; if it has splits, the test images are used, or else the validation images",
    )
    parser.add_argument("models", nargs="+", metavar="model", help="name of a model in the repository")
    parser.add_argument("--repository", default="models", help="model repository (default: models)")
    arguments = parser.parse_args()
    try:
        listing = sources.find(arguments.data)
    except MultipoolError as error:
        parser.error(str(error))
    split = next(split for split in _SPLITS if split in listing.files)
    files = listing.files[split]
    found = {}
    with serving(arguments.repository) as service:
        for model in arguments.models:
            described = service.get(f"/models/{model}")
            labels = described["labels"] if sources.numbered(arguments.data) else list(listing.labels)
            if split == "train" and described["training"].get("dataset") == readable(listing.name):
                print(f"note: {model} has learned from most of these images, so its accuracy is too good; see verify")
            start = time.monotonic()
            found[model] = right(service, model, files, labels)
            rate = len(files) / (time.monotonic() - start)
            share = sum(found[model]) / len(files)
            low, high = interval(share, len(files))
            print(f"{model:<24} {share:.4f} ({low:.3f}–{high:.3f}) of {len(files):,} images, {rate:.0f} images/s")
    for first, second in combinations(found, 2):
        pair = Paired(np.array(found[first]), np.array(found[second]))
        print(f"{first} against {second}: p = {pair.p():.3f} (exact McNemar test)")


if __name__ == "__main__":
    main()
