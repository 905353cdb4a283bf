"""A limit on the blocks of a GIF before its first frame, which Pillow reads one by one, in Python, as those of a PNG.

GIF89a specification, section 12 (blocks and sub-blocks) and appendix A (their codes).
"""

from __future__ import annotations

from app.decoders.formats import UNCHECKED_BYTES
from app.errors import UndecodableImage

_HEADER_BYTES = 13
_TABLE = 0x80
_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_BASE_LIMIT = 10_000
_BYTES_PER_MORE = 64
"""For each of so many bytes, one more block is allowed; encoders fill their blocks, of 255 bytes."""


def check(data: bytes) -> None:
    """Refuse a GIF with more before its first frame than encoders write, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many blocks, or bytes between them, which Pillow steps over one by one.
    """
    if len(data) <= UNCHECKED_BYTES:
        return
    colours = 3 << ((data[10] & 7) + 1) if data[10] & _TABLE else 0
    position, left = _HEADER_BYTES + colours, _BASE_LIMIT + len(data) // _BYTES_PER_MORE
    while left >= 0 and position < len(data) and data[position] not in {_FRAME, _END}:
        left -= 1
        if data[position] == _EXTENSION:
            position += 2
            while left >= 0 and position < len(data) and data[position]:
                position, left = position + 1 + data[position], left - 1
        position += 1
    if left < 0:
        raise UndecodableImage("the GIF file has too many parts; save it again")
