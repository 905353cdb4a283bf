"""A digest inside the very file it protects: one flipped byte anywhere is found before anything is loaded.

The metadata document has the field ``digest``: the SHA-256 (FIPS 180-4) of the whole file with that field's 64 digits
set to zero. Being of fixed length, it is written into the finished file without moving a byte.
"""

from __future__ import annotations

import hashlib
import re

from app.errors import InvalidArtifact

UNSTAMPED = "0" * 64

# Inside a JSON text a quotation mark of a string is escaped, so only the field itself can look like this.
_FIELD = re.compile(rb'"digest":"([0-9a-f]{64})"')


def stamp(data: bytes) -> bytes:
    """Write the digest into a file whose field is still zero.

    Raises:
        InvalidArtifact: The file has no such field, or several.
    """
    found = _find(data)
    return data[: found.start(1)] + _of(data, found).encode() + data[found.end(1) :]


def check(data: bytes) -> None:
    """See that a file is what was stamped.

    Raises:
        InvalidArtifact: It has changed since, or was never stamped.
    """
    found = _find(data)
    if _of(data, found) != found[1].decode():
        raise InvalidArtifact("its digest does not fit: the file was damaged or changed; copy or export it again")


def _find(data: bytes) -> re.Match[bytes]:
    found = list(_FIELD.finditer(data))
    if len(found) != 1:
        raise InvalidArtifact(
            "it is not a multi-pool artifact, or only a part of one: there is no digest inside; "
            "publish models with 'python -m model_export train'"
        )
    return found[0]


def _of(data: bytes, found: re.Match[bytes]) -> str:
    digest = hashlib.sha256(memoryview(data)[: found.start(1)])
    digest.update(UNSTAMPED.encode())
    digest.update(memoryview(data)[found.end(1) :])
    return digest.hexdigest()
