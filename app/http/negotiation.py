"""Which of several media types to answer with (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from functools import lru_cache

import mimeparse

from app.errors import NotAcceptable

JSON, PNG, NPY, NPZ = "application/json", "image/png", "application/x-npy", "application/x-npz"

_LONGEST = 1000
"""Browsers send some 150 characters; 32 kB would be read for a tenth of a second."""


@lru_cache(maxsize=64)  # clients ask the same again and again
def choose(accept: str, offered: tuple[str, ...]) -> str:
    """Choose what to answer with.

    Args:
        accept: The headers ``Accept``, joined by commas; empty when there is none.
        offered: What can be made; where the caller has no preference, the last.

    Raises:
        NotAcceptable: Nothing that the caller accepts can be made.
    """
    if len(accept) > _LONGEST:
        raise NotAcceptable(f"the header Accept exceeds {_LONGEST:,} characters; name one media type, or */*")
    members = [member for member in (accept or "*/*").lower().split(",") if _is_media_range(member)]
    chosen: str = mimeparse.best_match(offered, ",".join(members))
    if not chosen:
        *others, last = reversed(offered)
        raise NotAcceptable(f"the header Accept asks for none of {', '.join(others)} and {last}; name one, or */*")
    return chosen


def _is_media_range(text: str) -> bool:
    """Tell whether a member of the header can be read; one that cannot does not spoil the others."""
    try:
        mimeparse.parse_media_range(text)
    except ValueError:
        return False
    return True
