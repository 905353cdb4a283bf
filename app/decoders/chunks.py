"""A limit on the chunks of a PNG: Pillow reads them one by one, in Python, and holds the interpreter lock meanwhile.

PNG specification (Third Edition), section 5: length, type, data and checksum, twelve bytes at least.
"""

from __future__ import annotations

from app.errors import UndecodableImage

_SIGNATURE_BYTES = 8
_BASE_LIMIT = 10_000
_BYTES_PER_MORE = 1024
"""For each of so many bytes, one more chunk is allowed; encoders make chunks of 8 kB or more, or one for each row."""
_UNCHECKED_BYTES = 64 * 1024
"""A file this small is read in no time, whatever it holds."""


def check(data: bytes) -> None:
    """Refuse a PNG with more chunks than encoders make, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many.
    """
    if len(data) <= _UNCHECKED_BYTES:
        return
    position, left = _SIGNATURE_BYTES, _BASE_LIMIT + len(data) // _BYTES_PER_MORE
    while position < len(data) and data[position + 4 : position + 8] != b"IEND":  # what follows is not read
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        left -= 1
        if left < 0:
            raise UndecodableImage("the PNG file has too many parts; save it again")
