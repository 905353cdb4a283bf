"""Data sets: a folder of images, or the built-in handwritten digits, as ``uint8`` arrays per split.

Every image goes through :func:`app.images.decode`, the very function the service calls.
"""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from app import images
from app.errors import InvalidRequest
from app.images import Shape
from model_export import sources
from model_export.arguments import DIGITS
from model_export.errors import BadData
from model_export.progress import track
from model_export.sources import File

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")

_FRACTION = 0.1
_SMALLEST_CLASS = 3
_SAMPLE = 32


@dataclass(frozen=True)
class Split:
    """Decoded images and their labels.

    Attributes:
        images: ``uint8 [N, H, W, C]``.
        labels: ``int64 [N]``, positions in the data set's labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """All that training and verification need to know about the data."""

    name: str
    labels: tuple[str, ...]
    shape: Shape
    splits: dict[str, Split]
    sample: tuple[bytes, ...]
    """Up to 32 original files of a split that was not trained on."""
    skipped: tuple[str, ...] = field(default=())
    """Unreadable files, each with the reason."""

    def counts(self) -> dict[str, int]:
        """Count the images per split."""
        return {name: len(split) for name, split in self.splits.items()}


def load(
    data: str,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
    seed: int = 0,
    whole: bool = False,
) -> Dataset:
    """Load a data set.

    Args:
        data: ``digits``, or a folder ``train|validation|test/<class>/*`` or ``<class>/*``. What has no validation
            split is split by class: 80 % train, 10 % validation, 10 % test (or 90/10 where ``train`` is a folder).
        size: Height and width to train on; None for the size of the images, at most 128 by 128.
        channels: Channels to train on; None for 3 (1 for ``digits``).
        value_range: See :func:`app.images.decode`.
        seed: Decides which images go into which split.
        whole: Keep a folder without splits in one piece, named ``all``.

    Raises:
        MissingInput: There is no such folder, or no image in it.
        BadData: Fewer than two classes, or a class without a readable image.
    """
    if data == DIGITS:
        labels, files = sources.digits()
        shape = Shape(*(size or (32, 32)), channels or 1)
        name = "scikit-learn digits"
    else:
        labels, files = sources.folder(Path(data))
        shape = Shape(*(size or _common_size(files["train"])), channels or 3)
        name = Path(data).resolve().name
    files = {"all": files["train"]} if whole and set(files) == {"train"} else _split(files, labels, seed)
    splits, skipped = {}, []
    for split, members in files.items():
        splits[split], unreadable = _decode(members, shape, value_range, f"load {split}")
        skipped += unreadable
    for split, members in splits.items():
        if not len(members):
            raise BadData(f"no image of the split {split!r} can be read: {skipped[0]}")
    _check_classes(splits["train" if "train" in splits else "all"], labels, skipped)
    held_out = files.get("test") or files.get("validation") or files["all"]
    return Dataset(name, labels, shape, splits, _sample(held_out, shape, value_range), tuple(skipped))


def _common_size(files: list[File]) -> tuple[int, int]:
    """Find the median size of some images, at most 128 by 128."""
    sizes = []
    for file in files[:: max(1, len(files) // 100)]:
        try:
            with Image.open(io.BytesIO(file.read())) as image:
                sizes.append((image.height, image.width))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    if not sizes:
        raise BadData("the size of the images could not be found out; give it with --size")
    height, width = np.median(sizes, axis=0)
    return min(128, int(height)), min(128, int(width))


def _split(files: dict[str, list[File]], labels: tuple[str, ...], seed: int) -> dict[str, list[File]]:
    """Cut off validation (and test, where nothing was split) from each class, seeded."""
    if "validation" in files:
        return {name: files[name] for name in SPLITS if name in files}
    cut = ("validation",) if "test" in files else ("validation", "test")
    random = np.random.default_rng(seed)
    parts: dict[str, list[File]] = {**files, "train": [], **{name: [] for name in cut}}
    for index, label in enumerate(labels):
        members = [file for file in files["train"] if file.label == index]
        if len(members) < _SMALLEST_CLASS:
            raise BadData(f"class {label!r} has {len(members)} images; at least {_SMALLEST_CLASS} are needed to split")
        members = [members[i] for i in random.permutation(len(members))]
        part = max(1, round(_FRACTION * len(members)))
        for name in cut:
            parts[name] = parts[name] + members[:part]
            members = members[part:]
        parts["train"] += members
    return {name: parts[name] for name in SPLITS}


def _decode(
    files: list[File], shape: Shape, value_range: tuple[float, float] | None, description: str
) -> tuple[Split, list[str]]:
    """Decode all files of a split, leaving out what cannot be read."""
    try:
        batch = np.empty((len(files), *shape), np.uint8)
    except MemoryError:
        size = len(files) * math.prod(shape) / 1e9
        raise BadData(f"{len(files):,} images of this size take {size:,.0f} GB; choose a smaller --size") from None
    labels = np.empty(len(files), np.int64)
    skipped, kept = [], 0
    for file, image in track(_decoded(files, shape, value_range), len(files), description):
        if isinstance(image, str):
            skipped.append(f"{file.name}: {image}")
            continue
        batch[kept], labels[kept] = image, file.label
        kept += 1
    return Split(batch[:kept], labels[:kept]), skipped


def _decoded(
    files: list[File], shape: Shape, value_range: tuple[float, float] | None
) -> Iterator[tuple[File, NDArray[np.uint8] | str]]:
    """Decode on all cores, in order; a file that cannot be read gives the reason instead."""

    def one(file: File) -> tuple[File, NDArray[np.uint8] | str]:
        try:
            return file, images.decode(file.read(), shape, value_range=value_range)
        except (InvalidRequest, OSError) as error:
            return file, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(one, files)


def _check_classes(train: Split, labels: tuple[str, ...], skipped: list[str]) -> None:
    counts = Counter(train.labels.tolist())
    for index, label in enumerate(labels):
        if not counts[index]:
            reason = next((line for line in skipped if f"{label}/" in line), "")
            raise BadData(f"no image of class {label!r} can be read" + (f": {reason}" if reason else ""))


def _sample(files: list[File], shape: Shape, value_range: tuple[float, float] | None) -> tuple[bytes, ...]:
    """Pick readable original files, spread over the classes."""
    spread = files[:: max(1, len(files) // _SAMPLE)][:_SAMPLE]
    return tuple(file.read() for file, image in _decoded(spread, shape, value_range) if not isinstance(image, str))
