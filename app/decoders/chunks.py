"""How many parts a PNG has: Pillow reads them one by one, in Python, and a file of nothing else would hold up everyone.

PNG specification (Third Edition), section 5: length, type, data and checksum, twelve bytes at least.
"""

from __future__ import annotations

from app.errors import UndecodableImage

_SIGNATURE_BYTES = 8
_ALWAYS = 10_000
_BYTES_EACH = 1024
"""Encoders make chunks of 8 kB or more, or one for each row."""
_SHORT = 64 * 1024
"""Bytes of a file that takes no time to read, whatever it holds."""


def check(data: bytes) -> None:
    """Refuse a PNG with more chunks than encoders make, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many.
    """
    if len(data) <= _SHORT:
        return
    position, left = _SIGNATURE_BYTES, _ALWAYS + len(data) // _BYTES_EACH
    while position < len(data) and data[position + 4 : position + 8] != b"IEND":  # what lies behind it is not read
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        left -= 1
        if left < 0:
            raise UndecodableImage("the PNG file has too many parts; save it again")
