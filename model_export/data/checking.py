"""What is wrong with a data set that was found and decoded, or may be a mistake in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from model_export.console.numbers import shortened
from model_export.data.sources.listing import File
from model_export.data.split import Split
from model_export.errors import BadData


def check_splits(splits: dict[str, Split], files: dict[str, list[File]], skipped: list[str]) -> None:
    """Check that every split has an image, and one that can be read."""
    for name, members in splits.items():
        if not files[name]:
            raise BadData(f"the split {name!r} has no image")
        if not len(members):
            reason = "; ".join(filter(None, (skipped[0], advice(skipped))))
            raise BadData(f"no image of the split {name!r} can be read: {reason}")


def check_classes(train: Split, labels: tuple[str, ...], skipped: list[str]) -> None:
    """Check that every class has a readable training image; name all that have none, each with a reason."""
    counts = Counter(train.labels.tolist())
    lacking = []
    for index, label in enumerate(labels):
        if not counts[index]:
            reason = next((line for line in skipped if f"/{label}/" in f"/{line}"), "")
            lacking.append(
                f"no image of class {label!r} can be read: {reason}"
                if reason
                else f"class {label!r} has no image that can be trained on"
            )
    if lacking:
        raise BadData("; ".join(lacking))


def lacking(splits: dict[str, Split], labels: tuple[str, ...]) -> list[str]:
    """Name the classes of which a split that is measured has no image, as none could be read."""
    notes = []
    for name in (name for name in splits if name != "train"):
        there = set(splits[name].labels.tolist())
        missing = [repr(label) for index, label in enumerate(labels) if index not in there]
        if missing:
            notes.append(
                f"no image of {shortened(missing)} in the split {name!r} can be read, so figures of that split say "
                f"nothing about {'that class' if len(missing) == 1 else 'those classes'}"
            )
    return notes


def alike(labels: tuple[str, ...]) -> list[str]:
    """Name the classes that may be meant to be one, as their names differ in capitals only."""
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(label.casefold(), []).append(label)
    return [
        f"the classes {', '.join(map(repr, names))} differ in capitals only; if they are one class, name it in one way"
        for names in spellings.values()
        if len(names) > 1
    ]


def advice(skipped: Iterable[str]) -> str:
    """Say how to train on images that were skipped because they need a value range; empty if there are none."""
    needed = any("no natural range" in reason for reason in skipped)
    return "--value-range LOW HIGH says which values become 0 and 255" if needed else ""
