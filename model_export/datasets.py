"""Data sets as ``uint8`` arrays per split, in memory or in a cache on disk.

Every image goes through :func:`app.images.decode`, the very function the service calls.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.images import Shape
from model_export.console.invocation import readable
from model_export.console.numbers import counted
from model_export.data import checking, decoding, grouping, sources, splitting, survey
from model_export.data.leakage import Leak, find_contradictions, find_leaks
from model_export.data.sources.listing import File, Listing
from model_export.data.split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLE = 32


@dataclass(frozen=True)
class Dataset:
    """What training and verification need to know about the data."""

    name: str
    labels: tuple[str, ...]
    shape: Shape
    splits: dict[str, Split]
    sample: tuple[bytes, ...] = ()
    """Up to 32 original files of a split that was not trained on."""
    skipped: tuple[str, ...] = ()
    """Files that are of no class or unreadable, each with the reason."""
    ignored: tuple[str, ...] = ()
    """Files beside the images that are none, each with the reason."""
    notes: tuple[str, ...] = ()
    """What may be a mistake in the layout of the data."""
    leaks: tuple[Leak, ...] = ()
    """Images that are in an earlier split too, or nearly so, and groups that are in two."""
    listed: dict[str, list[File]] = field(default_factory=dict)
    """If it is only measured: the files of each split as they were found, so that they can be split as in training."""
    contradictions: tuple[tuple[str, str], ...] = ()
    """Images that are in two classes, by the names of the two files."""
    group_of: dict[str, int] = field(default_factory=dict)
    """If the images are grouped: the number of each file's group, by the name of the file."""

    def groups(self, split: str) -> NDArray[np.intp] | None:
        """Look up the number of the group of each image of a split; None if they are not grouped."""
        return numbers_of(self.splits[split].names, self.group_of)

    def counts_of_groups(self) -> dict[str, int]:
        """Count the groups per split; empty if the images are not grouped."""
        return {name: len(np.unique(self.groups(name))) for name in self.splits} if self.group_of else {}

    def counts(self) -> dict[str, int]:
        """Count the images per split."""
        return {name: len(split) for name, split in self.splits.items()}

    def counts_of_classes(self) -> dict[str, NDArray[np.int64]]:
        """Count the images per split and class."""
        return {name: np.bincount(split.labels, minlength=len(self.labels)) for name, split in self.splits.items()}

    def counts_of_leaks(self) -> Counter[str]:
        """Count the leaks by kind: images; for ``group`` the groups, each of which may be in all splits."""
        return Counter({leak.group or leak: leak.kind for leak in self.leaks}.values())

    def advice(self) -> str:
        """Say how to train on images that were skipped; empty if there is nothing to say."""
        return checking.advice(self.skipped)

    def fingerprint(self) -> str:
        """Digest of the data set: the SHA-256 of every file with its split and class, in hexadecimal."""
        return fingerprint(
            (name, self.labels[label], digest)
            for name, split in self.splits.items()
            for label, digest in zip(split.labels, split.digests, strict=True)
        )


def troubles(*read: Dataset) -> dict[str, list[Any]]:
    """Convert to JSON values what is wrong with some data, which several models may have read, each in its own way."""
    return {
        "skipped": list(dict.fromkeys(line for dataset in read for line in dataset.skipped)),
        "ignored": list(dict.fromkeys(line for dataset in read for line in dataset.ignored)),
        "leaks": [asdict(leak) for leak in dict.fromkeys(leak for dataset in read for leak in dataset.leaks)],
        "contradictions": [*map(list, dict.fromkeys(pair for dataset in read for pair in dataset.contradictions))],
    }


def leaks_in_words(kinds: Mapping[str, int]) -> str:
    """Say how many images are in an earlier split too, and how many groups in two, from the numbers of each kind."""
    same = counted(kinds["exact"], "image is", "images are")
    groups = f", and {counted(kinds['group'], 'group is', 'groups are')} in two" if kinds.get("group") else ""
    return f"{same} the same as one of an earlier split and {kinds['near']:,} nearly so{groups}"


def numbers_of(names: Iterable[str], group_of: Mapping[str, int]) -> NDArray[np.intp] | None:
    """Look up the number of the group of each file by its name; None if they are not grouped."""
    return np.array([group_of[name] for name in names], np.intp) if group_of else None


def fingerprint(files: Iterable[tuple[str, str, str]]) -> str:
    """Digest of split, class and SHA-256 of every file; their order does not matter."""
    return hashlib.sha256("\n".join(sorted(map(" ".join, files))).encode()).hexdigest()


def load(
    data: str,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
    labels: tuple[str, ...] | None = None,
    groups: str | None = None,
    seed: int = 0,
    together: bool = True,
    measuring: bool = False,
    cache: Path | None = None,
) -> Dataset:
    """Load a data set.

    Args:
        data: See :func:`model_export.data.sources.find`. What has no validation split is split by class: 80 % train,
            10 % validation, 10 % test (or 90/10 where there is a test split).
        size: Height and width to train on; None for the size of the images, at most 128 by 128.
        channels: Channels to train on; None for what arrays and multi-band files have, and 3 for all others.
        value_range: See :func:`app.images.decode`.
        labels: Names of the classes of a source that only numbers them.
        groups: Regular expression; images in whose paths it finds the same are of one group, and go into the same
            split.
        seed: Determines which images go into which split.
        together: Whether copies of a file go into the same split; they did not in older versions.
        measuring: For measuring only: classes may have no images, and nothing is split; a data set without splits
            is one split, ``all``.
        cache: Folder for the decoded images; None keeps them in memory where they fit.

    Raises:
        MissingInput: There is no such data set, or no image in it.
        BadData: Fewer than two classes, or a class without a readable image, unless that is only measured.
        InvalidUsage: No image has so many channels, or the data set names its classes itself.
    """
    listing = sources.find(data, labels, measuring=measuring)
    if not measuring:
        splitting.check(listing.files, listing.labels, (*listing.skipped, *listing.ignored))
        survey.check_channels(listing, channels)
    shape = survey.shape(listing, size, channels)
    if measuring:
        files, notes = _as_found(_grouped(listing, groups)), ()
    else:
        files, notes = _divided(listing, groups, seed, together=together)
    splits, skipped = decoding.decode(files, shape, value_range, cache)
    checking.check_splits(splits, files, skipped)
    if not measuring:
        checking.check_classes(splits["train"], listing.labels, skipped)
        notes += tuple(checking.lacking(splits, listing.labels))
    held_out = files.get("test") or files.get("validation") or next(iter(files.values()))
    return Dataset(
        readable(listing.name),
        listing.labels,
        shape,
        splits,
        sample=_sample(held_out, shape, value_range),
        skipped=(*listing.skipped, *skipped),
        ignored=listing.ignored,
        notes=(*listing.notes, *checking.alike(listing.labels), *notes),
        leaks=(*find_leaks(splits), *grouping.shared(files)),
        contradictions=tuple(find_contradictions(splits)),
        listed=listing.files if measuring else {},
        group_of=grouping.numbered(files),
    )


def _as_found(files: dict[str, list[File]]) -> dict[str, list[File]]:
    if set(files) == {"train"}:
        return {"all": files["train"]}
    return {name: files[name] for name in splitting.SPLITS if name in files}


def _divided(
    listing: Listing, groups: str | None, seed: int, *, together: bool
) -> tuple[dict[str, list[File]], tuple[str, ...]]:
    """Group and split the files; returns them per split, and what may be a mistake."""
    files = _grouped(listing, groups)
    same = splitting.copies(files) if together else {}
    return splitting.split(files, listing.labels, seed, same), _kept_together(same)


def _grouped(listing: Listing, pattern: str | None) -> dict[str, list[File]]:
    return listing.files if pattern is None else grouping.named(listing.files, pattern)


def _kept_together(same: Mapping[str, str]) -> tuple[str, ...]:
    """Say that there are copies, and name two, as they may be a mistake."""
    if not same:
        return ()
    first = next(iter(same.values()))
    pair = " and ".join([name for name, digest in same.items() if digest == first][:2])
    return (
        f"{len(same):,} files are the same as another of their class, such as {pair}: copies were kept together in one "
        "split, unless their class has too few files that differ",
    )


def _sample(files: list[File], shape: Shape, value_range: tuple[float, float] | None) -> tuple[bytes, ...]:
    """Pick readable original files, spread over the classes."""
    chosen = np.linspace(0, len(files) - 1, min(_SAMPLE, len(files))).astype(int)
    spread = [files[index] for index in chosen]
    return tuple(found.data for found in decoding.read(spread, shape, value_range) if found.image is not None)
