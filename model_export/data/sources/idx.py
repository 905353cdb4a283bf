"""IDX files, gzipped or not, under the names that MNIST (LeCun, Cortes and Burges) gave them and others kept."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.errors import MissingInput
from model_export.data.sources.listing import Listing, name_classes, of_arrays, size_of_arrays, stamp_of
from model_export.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPLITS = {"train": "train", "t10k": "test"}
_UINT8 = 0x08


def present(folder: Path) -> bool:
    """Tell whether a folder holds IDX files of training images."""
    return folder.is_dir() and any(_candidates(folder, "train-images-idx3-ubyte"))


def listing(folder: Path, labels: tuple[str, ...] | None = None) -> Listing:
    """List the images of ``train-images-idx3-ubyte.gz`` and its companions.

    Raises:
        MissingInput: A companion is missing.
        BadData: A file is damaged, or they do not belong together.
    """
    splits = {}
    for prefix, split in _SPLITS.items():
        if not any(_candidates(folder, f"{prefix}-images-idx3-ubyte")):
            continue
        images = read(_file(folder, f"{prefix}-images-idx3-ubyte"), 3)
        numbers = read(_file(folder, f"{prefix}-labels-idx1-ubyte"), 1)
        if len(images) != len(numbers):
            raise BadData(f"{folder} has {len(images)} images but {len(numbers)} labels in {prefix}-*")
        splits[split] = images, numbers
    names = name_classes(np.concatenate([numbers for _, numbers in splits.values()]), labels)
    stamp = " ".join(f"{path.name} {stamp_of(path)}" for path in sorted(folder.glob("*-ubyte*")))
    files = {split: of_arrays(split, images, numbers, stamp) for split, (images, numbers) in splits.items()}
    size, channels = size_of_arrays(splits["train"][0])
    return Listing(folder.resolve().name, names, files, size, channels)


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes: a magic number, big-endian sizes, the values.

    Raises:
        BadData: It is no such file, or not whole.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path} is damaged or incomplete ({error}); fetch it again") from None
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes((0, 0, _UINT8, dimensions)):
        raise BadData(f"{path} is not an IDX file of unsigned bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if not 0 < len(data) - start == math.prod(shape):
        raise BadData(f"{path} has {len(data) - start:,} values, but its header says {list(shape)}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _candidates(folder: Path, name: str) -> list[Path]:
    """Name the files that are there; a folder that cannot be opened has none: Path.is_file raises until Python 3.14."""
    return [path for path in (folder / f"{name}.gz", folder / name) if os.path.isfile(path)]


def _file(folder: Path, name: str) -> Path:
    found = _candidates(folder, name)
    if not found:
        raise MissingInput(f"{folder} has no {name}.gz, which belongs to its other files")
    return found[0]
