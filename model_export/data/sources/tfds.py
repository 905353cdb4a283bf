"""Data sets of tensorflow-datasets: ``tfds:NAME``, ``tfds:NAME/CONFIG`` or ``tfds:NAME:VERSION``.

The files are written once into a folder, encoded as they were published. From then on, the data set is a folder like
any other, decoded by the same function.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.decoders import formats
from app.errors import MissingInput
from model_export.console import invocation
from model_export.console.numbers import counted
from model_export.console.progress import say, track
from model_export.data.sources import folder
from model_export.data.sources.listing import SPLIT_NAMES, Listing
from model_export.errors import BadData


def listing(name: str) -> Listing:
    """Prepare a data set (downloading it where there is a network), and list it.

    Raises:
        MissingInput: tensorflow-datasets is not installed, knows no such data set, or cannot download it.
        BadData: It is not a set of images with one class each.
    """
    try:
        import tensorflow_datasets as tfds  # noqa: PLC0415
    except ImportError:
        install = invocation.installing("tensorflow-datasets")
        raise MissingInput(f"tfds:NAME needs a package of its own: {install}") from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    except Exception as error:  # noqa: BLE001  # the script of a data set can fail in any way
        reason = str(error).strip().partition("\n")[0]
        raise MissingInput(f"tensorflow-datasets cannot prepare {name!r}: {reason}") from None
    image, label = _features(tfds, builder.info.features, name)
    target = Path(builder.data_dir) / "files"
    if not target.is_dir():
        _unpack(tfds, builder, image, label, target)
    return replace(folder.listing(target), name=f"tfds {builder.info.full_name}")


def _features(tfds: Any, features: Any, name: str) -> tuple[str, str]:
    """Find the one image and the one class of each example."""
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    classes = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if len(images) != 1 or not classes:
        raise BadData(
            f"tfds:{name} does not give each image one class (it has {', '.join(features)}); several labels per image, "
            "boxes and masks are out of scope"
        )
    return images[0], "label" if "label" in classes else classes[0]


def _unpack(tfds: Any, builder: Any, image: str, label: str, target: Path) -> None:
    """Write ``<split>/<class>/<index>.<ending>``; the folder appears complete or not at all.

    Images whose class is not published, those of a competition for example, have a number below 0 and are left out.
    """
    names = builder.info.features[label].names
    staged = Path(tempfile.mkdtemp(prefix=".files-", dir=target.parent))
    try:
        for split, info in builder.info.splits.items():
            unknown = 0
            examples = builder.as_dataset(split=split, decoders={image: tfds.decode.SkipDecoding()})
            rows = track(tfds.as_numpy(examples), info.num_examples, f"unpack {split}")
            for index, example in enumerate(rows):
                data, number = example[image], int(example[label])
                if number < 0:
                    unknown += 1
                    continue
                home = staged / _split(split) / _safe(names[number])
                home.mkdir(parents=True, exist_ok=True)
                (home / f"{index:07}.{_ending(data)}").write_bytes(data)
            if unknown:
                say(f"note: {counted(unknown, 'image')} of {split} left out, as they are published without their class")
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _split(name: str) -> str:
    """Name a split as a folder source knows it; others (``unsupervised`` …) are left alone and not read."""
    return SPLIT_NAMES.get(name, name)


def _safe(name: str) -> str:
    return name.replace(os.sep, "-") or "unnamed"


def _ending(data: bytes) -> str:
    return (formats.sniff(data) or "bin").lower()
