"""Images of any number of channels: multi-band TIFF (tifffile) and ``.npy`` arrays."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.decoders import jpeg, strips, tags
from app.decoders.scaling import to_uint8
from app.errors import InvalidRequest, TooManyPixels, UndecodableImage, WrongChannels

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BANDS_AT_FULL_SIZE = 4
_SEPARATE = 2  # value of the tag PlanarConfiguration
_JPEG = 7  # value of the tag Compression
_MOST_PAGES = 4096  # the rows of an image that was written page by page
# What geographic software writes; everything else in the TIFF world stays out of reach of a sender.
_COMPRESSIONS = {"NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "ZSTD", "JPEG"}


def read_npy(data: bytes, channels: int, value_range: tuple[float, float] | None, max_pixels: int) -> NDArray[np.uint8]:
    """Read a ``.npy`` array ``[H, W, C]`` (or ``[H, W]`` for one channel) as ``uint8 [H, W, C]``.

    Format: the NumPy enhancement proposal 1. Pickled objects are never read.

    Raises:
        UndecodableImage, TooManyPixels, WrongChannels: See their texts; a broken header raises what NumPy raises.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise UndecodableImage("this version of the .npy format is not read; save the array with numpy.save")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    size, fortran_order, dtype = read_header(stream)
    _check_size((*size, 1) if len(size) == 2 else size, channels, max_pixels)
    if dtype.hasobject or dtype.kind not in "buif":
        raise UndecodableImage(f"the array is of type {dtype}; save it as numbers, best as uint8")
    payload = memoryview(data)[stream.tell() :]
    if len(payload) != int(np.prod(size)) * dtype.itemsize:
        raise UndecodableImage("the .npy file is incomplete: it has fewer or more values than its header says")
    array = np.frombuffer(payload, dtype).reshape(size, order="F" if fortran_order else "C")
    return to_uint8(array.reshape(size[0], size[1], channels), value_range)


def read_tiff(
    data: bytes, channels: int, value_range: tuple[float, float] | None, max_pixels: int
) -> NDArray[np.uint8]:
    """Read a TIFF file with all its bands as ``uint8 [H, W, C]``.

    The bands are the samples of the first page or, where that has one, the pages that follow it and are like it: a file
    with one page per band, or an array ``[H, W, C]`` written page by page.

    Raises:
        UndecodableImage, TooManyPixels, WrongChannels: See their texts; a broken file raises what tifffile raises.
    """
    with open_tiff(data) as tiff:
        page = tiff.pages[0]
        _check_compression(page)
        if page.dtype is not None and page.dtype.kind == "u":
            tags.check_bits(int(np.max(page.bitspersample)), value_range)
        if page.is_tiled:
            _check_size((page.tilelength, page.tilewidth, page.samplesperpixel), page.samplesperpixel, max_pixels)
        pages = alike(tiff)
        if len(pages) > _MOST_PAGES:
            raise UndecodableImage("the TIFF file has too many pages; save its bands in one page")
        # The number there should be: tifffile makes up those that are missing.
        strips.check_number(math.prod(page.chunked) * len(pages))
        places = (place for one in pages for place in zip(one.dataoffsets, one.databytecounts, strict=False))
        # Half a strip of LZW would be decoded without an error.
        if any(start + length > len(data) for start, length in places):
            raise UndecodableImage("the TIFF file is damaged or incomplete; save it again")
        if len(pages) > 1:
            size = (len(pages), *page.shape)
            axis = -1 if len(pages) != channels and size[-1] == channels else 0
            _check_size(size if axis == -1 else (*page.shape, len(pages)), channels, max_pixels)
            _check_jpegs(data, pages, max_pixels)
            array = np.empty(size, page.dtype)
            for plane, one in zip(array, pages, strict=True):
                plane[...] = one.asarray(maxworkers=1)
        else:
            _check_size((page.imagelength, page.imagewidth, page.samplesperpixel), channels, max_pixels)
            _check_jpegs(data, pages, max_pixels)
            axis = 0 if page.planarconfig == _SEPARATE else -1
            array = page.asarray(maxworkers=1)
        array = np.moveaxis(array, axis, -1)
    if array.ndim != 3 or array.shape[-1] != channels:
        raise UndecodableImage("the TIFF file is not one flat image; save its bands in one page")
    return to_uint8(array, value_range)  # (H, W, C)


def open_tiff(data: bytes) -> Any:
    """Open a ``tifffile.TiffFile``; formats of microscopes, of which it reads all pages at once, as any other file."""
    import tifffile  # noqa: PLC0415  # a tenth of a second that only models of many channels need

    strips.check(data, _MOST_PAGES + 1)
    return tifffile.TiffFile(io.BytesIO(data), is_lsm=False, is_ndpi=False, is_scanimage=False)


def alike(tiff: Any) -> list[Any]:
    """List the first page and, where it has one sample, those that follow and are like it.

    No more are looked at: tifffile goes round a circle of pages for ever, and what it makes of their descriptions can
    take any time and memory.
    """
    first = tiff.pages[0]
    if first.samplesperpixel > 1:
        return [first]
    pages: dict[int, Any] = {}
    for page in tiff.pages:
        if page.hash != first.hash or page.offset in pages or len(pages) > _MOST_PAGES:
            break
        pages[page.offset] = page
    return list(pages.values())


def is_grey(data: bytes, channels: int) -> bool:
    """Tell whether a TIFF file is a grey image, and not a stack of pages, one for each of several channels."""
    with open_tiff(data) as tiff:
        page = tiff.pages[0]
        return page.samplesperpixel == 1 and (channels == 1 or len(alike(tiff)) == 1)


def unread(data: bytes) -> InvalidRequest:
    """Say why a TIFF file cannot be read as a grey or colour image; a broken file raises what tifffile raises."""
    with open_tiff(data) as tiff:
        page = tiff.pages[0]
        _check_compression(page)
        samples = page.samplesperpixel
        what = f"{samples} band{'' if samples == 1 else 's'} of {page.dtype or 'an unknown type'}"
        if samples not in (1, 3):
            return tags.neither_grey_nor_colour(what)
        order = {">": "big-endian", "<": "little-endian"}[tiff.byteorder]
        return UndecodableImage(
            f"the TIFF ({what} with {np.max(page.bitspersample)} bits, {order}) is stored in a way that is not read; "
            "save it again, best with 8 bits, little-endian and in one page"
        )


def _check_compression(page: Any) -> None:
    import tifffile  # noqa: PLC0415  # see open_tiff

    try:
        name = tifffile.COMPRESSION(page.compression).name  # a file may leave it out, and then it is a bare 1
    except ValueError:
        name = "of an unknown kind"  # what the tag holds instead may be of any length
    if name not in _COMPRESSIONS:
        raise tags.unread_compression(name)


def _check_jpegs(data: bytes, pages: Sequence[Any], max_pixels: int) -> None:
    """Refuse strips and tiles with a JPEG that is larger than they are, or of more scans than an image may have.

    Pillow's libtiff refuses the former itself; tifffile decodes all of it.
    """
    first = pages[0]
    if first.compression != _JPEG:
        return
    size = first.tilelength * first.tilewidth if first.is_tiled else first.rowsperstrip * first.imagewidth
    # By place and length; blank tiles may share one, but overlapping ones would be read again and again.
    places = (where for page in pages for where in zip(page.dataoffsets, page.databytecounts, strict=False))
    segments = Counter(where for where in places if where[1])  # there are empty ones in sparse files
    if sum(length for _, length in segments) <= len(data):
        found = {(start, length): jpeg.work(data[start : start + length]) for start, length in segments}
        passes = sum(times * math.prod(found[where]) for where, times in segments.items())
        if all(0 < pixels <= size for pixels, _ in found.values()) and passes <= jpeg.passes(max_pixels):
            return
    raise TooManyPixels("the TIFF file holds JPEGs of more pixels or scans than itself; save it with LZW or deflate")


def _check_size(size: tuple[int, ...], channels: int, max_pixels: int) -> None:
    """Check height, width and channels as the header gives them, before any value is read."""
    if len(size) != 3 or min(size) < 1:
        raise UndecodableImage(f"an array of shape {list(size)} is not an image; send [height, width, {channels}]")
    if size[0] * size[1] > max_pixels or size[0] * size[1] * size[2] > _BANDS_AT_FULL_SIZE * max_pixels:
        raise TooManyPixels(
            f"the image has {size[1]} × {size[0]} pixels of {size[2]} channels, more than the limit of {max_pixels:,} "
            f"(of up to {_BANDS_AT_FULL_SIZE} channels); send a smaller one"
        )
    if size[2] != channels:
        there = f"{size[2]} channel{'' if size[2] == 1 else 's'}"
        raise WrongChannels(f"the image has {there}, but the model reads {channels}; send [height, width, {channels}]")
