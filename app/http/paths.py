"""The paths that are told apart from all others, and the name under which a request is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.routing import Match

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import Scope

PREDICTIONS = frozenset({"/predict", "/predict/batch", "/explain"})
"""Requests that carry images: they are refused without any work while too many are in progress."""
HEALTH = frozenset({"/livez", "/readyz"})
"""Health checks carry no key, are not limited, and are logged only when debugging."""
METRICS = "/metrics"
"""What monitoring reads."""
ADMIN = "/v2/repository/"
"""Begins the paths that take the admin key, if there is one, and no other."""

_PAGES, _PAGE_FILES = frozenset({"/", "/docs"}), "/web/"


def is_page(path: str) -> bool:
    """Tell whether it is a file of the pages: they hold nobody's data, and ask for the key themselves."""
    return path in _PAGES or path.startswith(_PAGE_FILES)


def route_of(scope: Scope, routes: Sequence[BaseRoute]) -> str:
    """Name the route that a request was for, though it may have been stopped before it got there; or ``other``.

    Names must be few: whoever sends requests chooses the paths, and metrics and traces keep every name.
    """
    if scope["path"] in PREDICTIONS:
        return str(scope["path"])
    found = scope.get("route") or next((one for one in routes if one.matches(scope)[0] is not Match.NONE), None)
    return getattr(found, "path", "other")
