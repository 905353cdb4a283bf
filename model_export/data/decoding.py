"""Decode labelled files once: into memory, or into a cache on disk from which training streams.

The cache has one ``.npy`` file of ``uint8 [N, H, W, C]`` per split. It is mapped into memory, so that only the images
in use take any.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app import images, memory
from app.ahead import in_order
from app.errors import InvalidRequest
from app.images import Shape
from app.metadata import RECIPE
from model_export import files as storage
from model_export.console.progress import say, track
from model_export.data import survey
from model_export.data.sources.listing import File
from model_export.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_SHARE_OF_MEMORY = 0.4
_AHEAD = 64


@dataclass(frozen=True)
class Split:
    """Decoded images and their labels.

    Attributes:
        images: ``uint8 [N, H, W, C]``, perhaps mapped from a file.
        labels: ``int64 [N]``, positions in the data set's labels.
        names: of the files.
        digests: SHA-256 of the files, in hexadecimal.
        headers: sizes and modes from the file headers, each with the number of files.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    headers: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def pixel_digests(self) -> list[bytes]:
        """Digests of the decoded images, equal if all pixels are; they are kept, as all images are read for them."""
        return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in self.images]


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
) -> tuple[Split, list[str]]:
    """Decode one split, or take it from the cache."""
    if cache is None:
        return _fill(name, files, _empty(len(files), shape), value_range)
    folder = cache / _key(files, shape, value_range)
    array, index = folder / "images.npy", folder / "index.json"
    folder.mkdir(parents=True, exist_ok=True)
    with storage.locked(folder / "lock", wait=True):  # a second process waits, and then finds it done
        if index.is_file():
            try:
                return _kept(array, index, (len(files), *shape))
            except (ValueError, EOFError, FileNotFoundError, KeyError, TypeError):  # TypeError: JSON of another kind
                say(f"note: what {folder} has cached of {name} is damaged; it is decoded again")
            index.unlink()
        array.unlink(missing_ok=True)  # another process may still read the one that was there
        try:
            batch = _reserve(array, (len(files), *shape))
            split, skipped = _fill(name, files, batch, value_range)
            batch.flush()
        except BaseException:  # an interrupt, too
            array.unlink(missing_ok=True)
            raise
        _write(index, split, skipped)
        return _kept(array, index, (len(files), *shape))


def _kept(array: Path, index: Path, shape: tuple[int, ...]) -> tuple[Split, list[str]]:
    """Map a cached split, with room for all images of this shape.

    Raises:
        ValueError, EOFError, FileNotFoundError, KeyError, TypeError: Its files are damaged.
    """
    found = json.loads(index.read_text())
    images = np.load(array, mmap_mode="r")
    if (images.shape, images.dtype) != (shape, np.uint8):
        raise ValueError
    labels = np.array(found["labels"], np.int64)
    split = Split(images[: len(labels)], labels, tuple(found["names"]), tuple(found["digests"]), found["headers"])
    return split, found["skipped"]


def _empty(count: int, shape: Shape) -> NDArray[np.uint8]:
    try:
        return np.empty((count, *shape), np.uint8)
    except MemoryError:
        size = count * math.prod(shape) / 1e6
        raise BadData(
            f"{count:,} images of this size take {size:,.1f} MB; choose a smaller --size, or a --cache on disk"
        ) from None


def _reserve(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Create a mapped file and reserve its space: if the disk filled up later, the system would kill the process.

    Raises:
        OSError: The disk has no room for it.
    """
    try:
        batch = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        reason = f"{math.prod(shape) / 1e6:,.1f} MB of images do not fit into {path.parent.parent}"
        raise OSError(error.errno, f"{error.strerror}: {reason}; choose another --cache, or a smaller --size") from None
    return batch


def _fill(
    name: str, files: list[File], batch: NDArray[np.uint8], value_range: tuple[float, float] | None
) -> tuple[Split, list[str]]:
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


def _write(index: Path, split: Split, skipped: list[str]) -> None:
    """Write the index last: if it exists, the images are complete."""
    document = {
        "labels": split.labels.tolist(),
        "names": split.names,
        "digests": split.digests,
        "headers": split.headers,
        "skipped": skipped,
    }
    storage.write(index, json.dumps(document).encode())
