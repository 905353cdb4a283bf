"""What files say about themselves before they are decoded: height, width, channels and mode, from their headers.

The shape to train on is chosen from that.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from app.decoders import bands, formats
from app.errors import InvalidRequest, InvalidUsage
from app.images import Shape
from model_export.choices import MOST_CHANNELS
from model_export.data.sources.listing import LARGEST_SIDE, File, Listing
from model_export.errors import BadData

_ORIENTATION = 0x0112  # the EXIF tag
_ON_ITS_SIDE = (5, 6, 7, 8)  # its values that exchange height and width
_LOOKED_AT = 100  # or up to twice as many, spread over all files
_ANY_CAN_HAVE = (1, 3, 4)
"""Numbers of channels to which all photos are converted."""


class Header(NamedTuple):
    """Size of an image as it is decoded, upright, and its pixels, as in ``JPEG RGB`` or ``TIFF uint16 × 13``."""

    height: int
    width: int
    channels: int
    mode: str


def header(data: bytes) -> Header | None:
    """Read the header of an encoded image; None where it cannot be read."""
    kind = formats.sniff(data)
    try:
        if kind == "NPY":
            return _npy(data)
        if kind == "TIFF":
            return _tiff(data)
        if kind is None:  # Pillow opens more formats than images.decode
            return None
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            height, width = _turned(image.height, image.width, _orientation(image))
            return Header(height, width, 3, f"{image.format} {image.mode}")
    except Exception:  # noqa: BLE001  # a damaged file can make a reader fail in any way
        return None


def _npy(data: bytes) -> Header:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    (height, width, *rest), _, dtype = read(stream)
    channels = rest[0] if rest else 1
    return Header(height, width, channels, f"NPY {dtype} × {channels}")


def _tiff(data: bytes) -> Header:
    with bands.open_tiff(data) as tiff:
        page = tiff.pages[0]
        count = page.samplesperpixel if page.samplesperpixel > 1 else len(bands.alike(tiff))
        # Every model reads grey and colour; for more bands, the model must be made.
        channels = count if count not in (1, 4) else 3
        # Only grey and colour are turned, see app.images.
        orientation = int(page.tags.valueof(_ORIENTATION, 1)) if channels == 3 else 1
        height, width = _turned(page.imagelength, page.imagewidth, orientation)
        return Header(height, width, channels, f"TIFF {page.dtype} × {count}")


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; broken EXIF data counts as none, as in app.images."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode all of it to look for more
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # see header
        return 1


def _turned(height: int, width: int, orientation: int) -> tuple[int, int]:
    return (width, height) if orientation in _ON_ITS_SIDE else (height, width)


def check_channels(listing: Listing, channels: int | None) -> None:
    """Check that images have as many channels as are asked for; grey and colour are converted.

    Raises:
        InvalidUsage: None has.
        BadData: No header can be read.
    """
    if channels in (None, *_ANY_CAN_HAVE):
        return
    files = listing.files["train"]
    there = {listing.channels} if listing.channels else {seen.channels for seen in _look(files)}
    if channels not in there:
        raise InvalidUsage(
            f"--channels {channels}: the images have {' or '.join(map(str, sorted(there)))}; leave it out, or give "
            "1 for grey or 3 for colour"
        )


def shape(listing: Listing, size: tuple[int, int] | None, channels: int | None) -> Shape:
    """Choose the shape to train on: as asked for, else that of the source, else that of most images.

    Raises:
        BadData: No header can be read, or the images have more channels than networks are made for.
    """
    size, channels = size or listing.size, channels or listing.channels
    if size is None or channels is None:
        found = _common(listing.files["train"])
        size, channels = size or (found.height, found.width), channels or found.channels
    if not 1 <= channels <= MOST_CHANNELS:
        raise BadData(f"the images have {channels} channels; networks are made for 1 to {MOST_CHANNELS}")
    return Shape(*size, channels)


def _common(files: list[File]) -> Shape:
    """Find the median size and the most frequent number of channels of some files; at most 128 by 128."""
    found = _look(files)
    height, width = (min(LARGEST_SIDE, int(side)) for side in np.median([seen[:2] for seen in found], axis=0))
    numbers, counts = np.unique([seen.channels for seen in found], return_counts=True)
    return Shape(height, width, int(numbers[counts.argmax()]))


def _look(files: list[File]) -> list[Header]:
    chosen = files[:: max(1, len(files) // _LOOKED_AT)]
    found = [seen for seen in (_read(file) for file in chosen) if seen is not None]
    if not found:
        raise BadData(f"none of {len(chosen)} files looked at can be read; {chosen[0].name}: {_reason(chosen[0])}")
    return found


def _reason(file: File) -> str:
    """Say why a file is none that can be read, and what to do, as where single files are skipped."""
    try:
        kind = formats.recognise(file.read(), None)
    except (InvalidRequest, OSError) as error:
        return str(error)
    return f"the {kind} file is damaged or incomplete; save it again"


def _read(file: File) -> Header | None:
    try:
        return header(file.read())
    except OSError:
        return None
