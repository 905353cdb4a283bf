"""One file as it was sent."""

from __future__ import annotations

from dataclasses import dataclass

PART = "file"
"""Of a form: the name under which files are sent."""


@dataclass(frozen=True)
class Upload:
    """Bytes, and what the sender says of them; its name is only ever given back, never used."""

    data: bytes
    media_type: str | None = None
    filename: str | None = None
