"""Finds images that are in two splits, exactly or nearly: a model must not be measured on its training images.

Also finds images that are in two classes, in any split: their labels contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from model_export.data.split import Split

_LARGEST_DISTANCE = 4
_SIDE = 16
_LEAST_DETAIL = 4.0  # standard deviation of a thumbnail, in grey levels
_LEAST_CORRELATION = 0.995
_BLOCK = 512  # images of each split whose pairs are looked at together


@dataclass(frozen=True)
class Leak:
    """An image that is in an earlier split too, exactly or nearly; or two images of one group that is in two splits."""

    kind: str
    """``exact``: the same pixels at the size that is trained on; ``near``: the same picture; ``group``: two images of
    the same group, see :mod:`model_export.data.grouping`."""
    first: str
    second: str
    group: str = ""
    """Its name, for ``group``."""

    def __str__(self) -> str:
        group = f" {self.group!r}" if self.group else ""
        return f"{self.kind}{group}: {self.first} and {self.second}"


def find_leaks(splits: dict[str, Split]) -> Iterator[Leak]:
    """Find every image that an earlier split has too; each is reported once, with its first match.

    Images of one scene by one camera all look alike: reported in pairs, their number would grow with the square of the
    images.

    Near duplicates have difference hashes (64 signs of the horizontal gradient of a 9×8 thumbnail; Krawetz,
    "Kind of like that", 2013) at a Hamming distance of at most 4, and 16×16 thumbnails that correlate by 0.995 or
    more. Images without detail, such as open water, are not compared, because they all look alike.
    """
    marks: dict[str, _Marks] = {}
    for second, split in splits.items():
        own = _Marks(split)
        for kind, pairs in (("exact", _exact), ("near", _near)):
            for first, earlier in marks.items():
                for i, j in pairs(earlier, own):
                    yield Leak(kind, splits[first].names[i], split.names[j])
        marks[second] = own


def find_contradictions(splits: dict[str, Split]) -> Iterator[tuple[str, str]]:
    """Find the same pixels, at the size that is trained on, in two classes; the names of the first file of each."""
    first: dict[bytes, dict[int, str]] = {}
    for split in splits.values():
        for name, digest, label in zip(split.names, split.pixel_digests, split.labels.tolist(), strict=True):
            classes = first.setdefault(digest, {})
            if label not in classes:
                classes[label] = name
                if len(classes) > 1:
                    yield next(iter(classes.values())), classes[label]


class _Marks:
    """What is compared of the images of a split.

    Attributes:
        digests: of the decoded images.
        hashes: ``uint64 [N]``, the difference hashes.
        thumbnails: ``uint8 [N, 256]``, 16×16 in grey.
        detailed: ``int64 [M]``, the positions of the images with detail.
        found: ``bool [N]``, whether an earlier split is known to have the image, which is then compared no further.
    """

    def __init__(self, split: Split) -> None:
        images, self.digests = split.images, split.pixel_digests
        self.hashes = np.zeros(len(images), np.uint64)
        self.thumbnails = np.zeros((len(images), _SIDE * _SIDE), np.uint8)
        for index, image in enumerate(images):
            grey = Image.fromarray(_grey(image))
            self.hashes[index] = _difference_hash(grey)
            self.thumbnails[index] = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
        details = np.array([thumbnail.std() for thumbnail in self.thumbnails])  # all at once would be float64
        self.detailed = np.flatnonzero(details >= _LEAST_DETAIL)
        self.found = np.zeros(len(images), bool)


def _exact(first: _Marks, second: _Marks) -> Iterator[tuple[int, int]]:
    known: dict[bytes, int] = {}
    for i, digest in enumerate(first.digests):
        known.setdefault(digest, i)
    for j, digest in enumerate(second.digests):
        if digest in known and not second.found[j]:
            second.found[j] = True
            yield known[digest], j


def _near(first: _Marks, second: _Marks) -> Iterator[tuple[int, int]]:
    """Compare in blocks, so that memory is bounded however many images look alike."""
    for block, some in product(_blocks(second.detailed), _blocks(first.detailed)):
        others = block[~second.found[block]]
        close = np.bitwise_count(first.hashes[some, None] ^ second.hashes[others]) <= _LARGEST_DISTANCE
        rows, columns = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
        thumbnails = first.thumbnails[some[rows]], second.thumbnails[others[columns]]
        correlation = _standardise(thumbnails[0]) @ _standardise(thumbnails[1]).T
        alike = np.nonzero(close[np.ix_(rows, columns)] & (correlation >= _LEAST_CORRELATION))
        found, place = np.unique(alike[1], return_index=True)  # row by row, so the place is that of the first
        second.found[others[columns[found]]] = True
        yield from zip(some[rows[alike[0][place]]].tolist(), others[columns[found]].tolist(), strict=True)


def _blocks(positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [positions[start : start + _BLOCK] for start in range(0, len(positions), _BLOCK)]


def _difference_hash(grey: Image.Image) -> int:
    thumbnail = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(thumbnail[:, 1:] > thumbnail[:, :-1]).tobytes())


def _standardise(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bring thumbnails with detail, ``[N, 256]``, to mean 0 and length 1: their products are their correlations."""
    centred = thumbnails - thumbnails.mean(1, dtype=np.float32, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average the channels of ``uint8 [H, W, C]``."""
    if image.shape[-1] == 1:
        return np.ascontiguousarray(image[..., 0])
    total = image[..., 0].astype(np.uint16)
    for channel in range(1, image.shape[-1]):
        total += image[..., channel]
    return (total // image.shape[-1]).astype(np.uint8)
