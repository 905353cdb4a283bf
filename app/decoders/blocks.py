"""What a GIF has in front of its first frame: Pillow reads it block by block, in Python, holding up everyone meanwhile.

GIF89a specification, section 12 (blocks and sub-blocks) and appendix A (their codes).
"""

from __future__ import annotations

from app.errors import UndecodableImage

_HEADER_BYTES = 13
_TABLE = 0x80
_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_ALWAYS = 10_000
_BYTES_EACH = 64
"""Encoders fill their blocks, of 255 bytes."""
_SHORT = 64 * 1024
"""Bytes of a file that takes no time to read, whatever it holds."""


def check(data: bytes) -> None:
    """Refuse a GIF with more in front of its first frame than encoders write, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many blocks, or bytes between them, which Pillow steps over one by one.
    """
    if len(data) <= _SHORT:
        return
    colours = 3 << ((data[10] & 7) + 1) if data[10] & _TABLE else 0
    position, left = _HEADER_BYTES + colours, _ALWAYS + len(data) // _BYTES_EACH
    while left >= 0 and position < len(data) and data[position] not in {_FRAME, _END}:
        left -= 1
        if data[position] == _EXTENSION:
            position += 2
            while left >= 0 and position < len(data) and data[position]:
                position, left = position + 1 + data[position], left - 1
        position += 1
    if left < 0:
        raise UndecodableImage("the GIF file has too many parts; save it again")
