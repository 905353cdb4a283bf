"""Keep decoded splits in a folder, so that later trainings map them into memory instead of decoding again.

A split has a folder of its own: ``images.npy`` with ``uint8 [N, H, W, C]``, of which only the images in use take any
memory; ``index.json``, written last, with the rest; and a ``lock``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_export import files
from model_export.console.progress import say
from model_export.data.split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

Decoded = tuple[Split, list[str]]
"""A split, and the files that cannot be read, each with the reason."""


def kept(folder: Path, name: str, shape: tuple[int, ...], decode: Callable[[NDArray[np.uint8]], Decoded]) -> Decoded:
    """Take a split from its folder; if it is not there, have it decoded into the folder first.

    Args:
        folder: Of this split alone.
        name: Of the split, for people.
        shape: Of all its images, ``[N, H, W, C]``, as if each could be read.
        decode: Writes the images into an array of this shape, the readable ones first.

    Raises:
        OSError: The disk has no room for it.
    """
    array, index = folder / "images.npy", folder / "index.json"
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder / "lock", wait=True):  # a second process waits, and then finds it done
        if index.is_file():
            try:
                return _open(array, index, shape)
            except (ValueError, EOFError, FileNotFoundError, KeyError, TypeError):  # TypeError: JSON of another kind
                say(f"note: what {folder} has cached of {name} is damaged; it is decoded again")
            index.unlink()
        array.unlink(missing_ok=True)  # another process may still read the one that was there
        try:
            batch = _reserve(array, shape)
            split, skipped = decode(batch)
            batch.flush()
        except BaseException:  # an interrupt, too
            array.unlink(missing_ok=True)
            raise
        write_index(index, split, skipped)
        return _open(array, index, shape)


def _open(array: Path, index: Path, shape: tuple[int, ...]) -> Decoded:
    """Map a split that is there.

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


def _reserve(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Create a mapped file and reserve its space: if the disk filled up later, the system would kill the process."""
    try:
        batch = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        reason = f"{math.prod(shape) / 1e6:,.1f} MB of images do not fit into {path.parent.parent}"
        raise OSError(error.errno, f"{error.strerror}: {reason}; choose another --cache, or a smaller --size") from None
    return batch


def write_index(index: Path, split: Split, skipped: list[str]) -> None:
    """Write what is known of the images; if it is there, they are complete."""
    document = {
        "labels": split.labels.tolist(),
        "names": split.names,
        "digests": split.digests,
        "headers": split.headers,
        "skipped": skipped,
    }
    files.write(index, json.dumps(document).encode())
