"""Decode labelled files once: into memory, or into a cache on disk from which training streams."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app import images, memory
from app.ahead import in_order
from app.errors import InvalidRequest
from app.images import Shape
from app.metadata import RECIPE
from model_export.console.progress import say, track
from model_export.data import keeping, survey
from model_export.data.keeping import Decoded
from model_export.data.sources.listing import File
from model_export.data.split import Split
from model_export.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_SHARE_OF_MEMORY = 0.4
_AHEAD = 64


@dataclass(frozen=True)
class Read:
    """One file: decoded, or with the reason why it cannot be."""

    file: File
    data: bytes
    image: NDArray[np.uint8] | None
    reason: str = ""


def decode(
    files: dict[str, list[File]], shape: Shape, value_range: tuple[float, float] | None, cache: Path | None
) -> tuple[dict[str, Split], list[str]]:
    """Decode all splits; returns them, and the unreadable files with the reasons.

    Raises:
        BadData: They do not fit into memory, and there is no place for a cache.
        OSError: They do not fit on the disk of the cache.
    """
    size = sum(map(len, files.values())) * math.prod(shape)
    if cache is None and size > _LARGEST_SHARE_OF_MEMORY * memory.available():
        cache = _users_cache()
        say(f"{size / 1e6:,.1f} MB of images: decoded into {cache} and streamed from there (--cache chooses the place)")
    splits, skipped = {}, []
    for name, members in files.items():
        splits[name], unreadable = _decode(name, members, shape, value_range, cache)
        skipped += unreadable
    return splits, skipped


def _users_cache() -> Path:
    """Choose where the user's cached files are; a container may run as a number that has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multipool"
    except RuntimeError:
        raise BadData("the images do not fit into memory, and the user has no home folder; choose a --cache") from None


def read(files: list[File], shape: Shape, value_range: tuple[float, float] | None) -> Iterator[Read]:
    """Read and decode on all cores, in order, a few files ahead of the caller."""

    def one(file: File) -> Read:
        data = b""
        try:
            data = file.read()
            return Read(file, data, images.decode(data, shape, value_range=value_range))
        except (InvalidRequest, OSError) as error:
            return Read(file, data, None, str(error))

    for _, found in in_order(one, files, _AHEAD):
        yield found


def _decode(
    name: str, files: list[File], shape: Shape, value_range: tuple[float, float] | None, cache: Path | None
) -> Decoded:
    """Decode one split, or take it from the cache."""
    if cache is None:
        return _fill(name, files, _empty(len(files), shape), value_range)
    folder = cache / _key(files, shape, value_range)
    return keeping.kept(folder, name, (len(files), *shape), lambda batch: _fill(name, files, batch, value_range))


def _empty(count: int, shape: Shape) -> NDArray[np.uint8]:
    try:
        return np.empty((count, *shape), np.uint8)
    except MemoryError:
        size = count * math.prod(shape) / 1e6
        raise BadData(
            f"{count:,} images of this size take {size:,.1f} MB; choose a smaller --size, or a --cache on disk"
        ) from None


def _fill(name: str, files: list[File], batch: NDArray[np.uint8], value_range: tuple[float, float] | None) -> Decoded:
    """Decode into ``batch``, skipping what cannot be read."""
    kept: list[File] = []
    digests, skipped, headers = [], [], dict[str, int]()
    shape = Shape(*batch.shape[1:])
    for found in track(read(files, shape, value_range), len(files), f"load {name}"):
        if found.image is None:
            skipped.append(f"{found.file.name}: {found.reason}")
            continue
        batch[len(kept)] = found.image
        kept.append(found.file)
        digests.append(hashlib.sha256(found.data).hexdigest())
        header = survey.header(found.data)
        words = f"{header.height}×{header.width} {header.mode}" if header else "unknown"
        headers[words] = headers.get(words, 0) + 1
    labels = np.array([file.label for file in kept], np.int64)
    return Split(batch[: len(kept)], labels, tuple(file.name for file in kept), tuple(digests), headers), skipped


def _key(files: list[File], shape: Shape, value_range: tuple[float, float] | None) -> str:
    """Name a cached split after everything that determines its content."""
    parts: list[Any] = [RECIPE, tuple(shape), value_range, *((file.name, file.label, file.stamp) for file in files)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
