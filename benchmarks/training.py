"""Training throughput against bare ``model.fit`` on the same arrays: ``python -m benchmarks.training``.

Both train the same network for one epoch at a time, in turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from app.images import Shape
from model_export import training
from model_export.architectures import Network, build
from model_export.data.split import Split
from model_export.datasets import Dataset
from model_export.fitting.budget import Budget

IMAGES, SHAPE, CLASSES, BATCH, ROUNDS = 2048, Shape(64, 64, 3), 10, 64, 4


def main() -> None:
    """Print images per second of both, and the ratio, without augmentation and with it."""
    argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__).parse_args()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, *SHAPE), np.uint8)
    split = Split(images, random.integers(0, CLASSES, IMAGES))
    held_out = Split(images[:256], split.labels[:256])
    dataset = Dataset("noise", tuple(map(str, range(CLASSES))), SHAPE, {"train": split, "validation": held_out})
    bare, ours, augmented = (build("regions", "batchnorm", SHAPE, CLASSES) for _ in range(3))
    bare.model.compile(
        keras.optimizers.AdamW(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    kinds = {
        "model.fit on the arrays": lambda: _bare(bare, dataset),
        "train, no augmentation": lambda: _ours(ours, dataset, "none"),
        "train, augmentation aerial": lambda: _ours(augmented, dataset, "aerial"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(ROUNDS + 1):
        for name, epoch in kinds.items():
            taken = epoch()
            if turn:  # the first one traces the graph
                seconds[name].append(taken)
    reference = statistics.median(seconds["model.fit on the arrays"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:28} {IMAGES / median:7,.0f} images/s   {reference / median:.2f} of model.fit")


def _bare(network: Network, dataset: Dataset) -> float:
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    start = time.perf_counter()
    network.model.fit(
        train.images,
        train.labels,
        batch_size=BATCH,
        epochs=1,
        validation_data=(validation.images, validation.labels),
        verbose=0,
    )
    return time.perf_counter() - start


def _ours(network: Network, dataset: Dataset, augmentation: str) -> float:
    """Train three epochs; the time of the last, which is not that of compiling."""
    budget = Budget(epochs=3, batch_size=BATCH, augmentation=augmentation, keep="last")
    return training.train(network, dataset, budget).history[-1]["seconds"]


if __name__ == "__main__":
    main()
