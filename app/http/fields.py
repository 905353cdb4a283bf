"""Fields of a request's header, as they came (ASGI: names in lower case)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def first(scope: Scope, name: bytes) -> str | None:
    """Give the value of a field; of several, that of the first."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def joined(scope: Scope, name: bytes) -> str:
    """Give the values of all fields of a name as one list (RFC 9110, section 5.3); empty when there is none."""
    return b",".join([value for key, value in scope["headers"] if key == name]).decode("latin-1")
