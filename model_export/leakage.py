"""Finds images that are in two splits, exactly or nearly: what was trained on must not be measured on.

And images that are in two classes, wherever they lie: their labels contradict each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from model_export.decoding import Split

_LARGEST_DISTANCE = 4
_SIDE = 16
_LEAST_DETAIL = 4.0
_LEAST_CORRELATION = 0.995
_ROWS = 256


@dataclass(frozen=True)
class Leak:
    """Two images of two splits that are the same, or nearly."""

    kind: str
    """``exact``: the same pixels at the size that is trained on; ``near``: the same picture."""
    first: str
    second: str


def find_leaks(splits: dict[str, Split]) -> Iterator[Leak]:
    """Compare every image of every split with those of the other splits.

    Near duplicates have difference hashes (64 signs of the horizontal gradient of a 9×8 thumbnail; Krawetz,
    "Kind of like that", 2013) at a Hamming distance of at most 4, and 16×16 thumbnails that correlate by 0.995 or
    more. Images without detail, such as open water, are not compared: they are all alike.
    """
    marks = {name: _Marks(split.images) for name, split in splits.items()}
    for first, second in combinations(splits, 2):
        for kind, pairs in (("exact", _exact), ("near", _near)):
            for i, j in pairs(marks[first], marks[second]):
                yield Leak(kind, _name(first, splits[first], i), _name(second, splits[second], j))


def find_contradictions(splits: dict[str, Split]) -> Iterator[tuple[str, str]]:
    """Find the same pixels, at the size that is trained on, in two classes; the names of the first file of each."""
    first: dict[bytes, dict[int, str]] = {}
    for name, split in splits.items():
        for index, (digest, label) in enumerate(zip(_digests(split.images), split.labels.tolist(), strict=True)):
            classes = first.setdefault(digest, {})
            if label not in classes:
                classes[label] = _name(name, split, index)
                if len(classes) > 1:
                    yield next(iter(classes.values())), classes[label]


class _Marks:
    """What the images of a split are compared by.

    Attributes:
        digests: of the decoded pixels.
        hashes: ``uint64 [N]``, the difference hashes.
        thumbnails: ``uint8 [N, 256]``, 16×16 in grey.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.digests = _digests(images)
        self.hashes = np.zeros(len(images), np.uint64)
        self.thumbnails = np.zeros((len(images), _SIDE * _SIDE), np.uint8)
        for index, image in enumerate(images):
            grey = Image.fromarray(_grey(image))
            self.hashes[index] = _difference_hash(grey)
            self.thumbnails[index] = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()


def _digests(images: NDArray[np.uint8]) -> list[bytes]:
    return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in images]


def _exact(first: _Marks, second: _Marks) -> Iterator[tuple[int, int]]:
    known = {digest: index for index, digest in enumerate(first.digests)}
    yield from ((known[digest], j) for j, digest in enumerate(second.digests) if digest in known)


def _near(first: _Marks, second: _Marks) -> Iterator[tuple[int, int]]:
    for start in range(0, len(first.hashes), _ROWS):
        distances = np.bitwise_count(first.hashes[start : start + _ROWS, None] ^ second.hashes)  # (rows, second)
        rows, columns = np.nonzero(distances <= _LARGEST_DISTANCE)
        alike = _correlate(first.thumbnails[start + rows], second.thumbnails[columns]) >= _LEAST_CORRELATION
        for i, j in zip((start + rows[alike]).tolist(), columns[alike].tolist(), strict=True):
            if first.digests[i] != second.digests[j]:
                yield i, j


def _difference_hash(grey: Image.Image) -> int:
    thumbnail = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(thumbnail[:, 1:] > thumbnail[:, :-1]).tobytes())


def _correlate(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Correlate pairs of thumbnails ``[pairs, 256]``; 0 where one has no detail."""
    a, b = (part - part.mean(1, dtype=np.float32, keepdims=True) for part in (first, second))
    spread_a, spread_b = a.std(1), b.std(1)
    detailed = np.minimum(spread_a, spread_b) >= _LEAST_DETAIL
    return np.where(detailed, (a * b).mean(1) / np.maximum(spread_a * spread_b, 1), 0)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average the channels of ``uint8 [H, W, C]``."""
    if image.shape[-1] == 1:
        return np.ascontiguousarray(image[..., 0])
    total = image[..., 0].astype(np.uint16)
    for channel in range(1, image.shape[-1]):
        total += image[..., channel]
    return (total // image.shape[-1]).astype(np.uint8)


def _name(split: str, members: Split, index: int) -> str:
    return members.names[index] if members.names else f"{split} {index}"
