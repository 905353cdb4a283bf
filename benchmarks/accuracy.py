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
from itertools import combinations

import numpy as np

from app.errors import MultipoolError
from benchmarks.service import Service, send, serving
from model_export.console.invocation import readable
from model_export.data import sources
from model_export.data.sources.listing import File, Listing
from model_export.figures.metrics import interval
from model_export.figures.paired import Paired, p_value
from model_export.reporting.summary import say_skipped

_CONNECTIONS = 4
_REFUSALS = 413, 415, 422  # of a file, not of the request
_SPLITS = ("test", "validation", "train")


def right(service: Service, model: str, files: list[File], labels: list[str]) -> tuple[dict[str, bool], dict[str, str]]:
    """Say for each file, by its name, whether its most probable label is that of its class, or why it is refused."""
    path = f"/predict?model={model}&features=false&top=1"
    found, refused = {}, {}

    def share(files: list[File]) -> None:
        with closing(service.connect()) as connection:
            for file in files:
                status, body = send(connection, path, file.read())
                answer = json.loads(body)
                if status == 200:
                    found[file.name] = answer["label"] == labels[file.label]
                elif status in _REFUSALS:
                    refused[file.name] = answer["detail"]
                else:
                    raise SystemExit(f"{path} answered {status}: {answer['detail']}")

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(share, [files[i::_CONNECTIONS] for i in range(_CONNECTIONS)]))
    return found, refused


def labels_of(listing: Listing, model: str, known: list[str], *, numbered: bool) -> list[str]:
    """Find the label of each class of the data: by its name, or where they are only numbered, by its number."""
    if numbered and len(listing.labels) <= len(known):
        return known
    if unknown := [label for label in listing.labels if label not in known]:
        raise SystemExit(
            f"{model} does not know {len(unknown)} of the {len(listing.labels)} classes: "
            f"{', '.join(map(repr, unknown))}; it knows {', '.join(known)}"
        )
    return list(listing.labels)


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
    found: dict[str, dict[str, bool]] = {}
    refused: dict[str, dict[str, str]] = {}
    with serving(arguments.repository) as service:
        models = {model: service.get(f"/models/{model}") for model in arguments.models}
        numbered = sources.numbered(arguments.data)
        labels = {
            model: labels_of(listing, model, described["labels"], numbered=numbered)
            for model, described in models.items()
        }
        for model, described in models.items():
            if split == "train" and described["training"].get("dataset") == readable(listing.name):
                print(f"note: {model} has learned from most of these images, so its accuracy is too good; see verify")
            start = time.monotonic()
            found[model], refused[model] = right(service, model, files, labels[model])
            rate = len(files) / (time.monotonic() - start)
            if images := len(found[model]):
                share = sum(found[model].values()) / images
                low, high = interval(share, images)
                print(f"{model:<24} {share:.4f} ({low:.3f}–{high:.3f}) of {images:,} images, {rate:.0f} images/s")
    for first, second in combinations(found, 2):
        if not (both := [name for name in found[first] if name in found[second]]):
            continue
        pair = Paired(*(np.array([found[model][name] for name in both], bool) for model in (first, second)))
        print(f"{first} against {second}: {p_value(pair.p())} (exact McNemar test)")
    for model, reasons in refused.items():
        say_skipped([f"{name}: {reason}" for name, reason in reasons.items()], f"{model} ")
    if unread := [model for model, answered in found.items() if not answered]:
        raise SystemExit(f"no image can be read by {', '.join(unread)}")


if __name__ == "__main__":
    main()
