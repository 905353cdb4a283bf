"""Numbers, durations and lists in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun in the singular or plural: 1 epoch, 2,000 epochs."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def in_full(number: float) -> str:
    """Write a number with all its digits, and without an exponent: 1234567, 0.25."""
    return np.format_float_positional(number, trim="-")


def shortened(texts: Iterable[str], most: int = 10) -> str:
    """Write the first of some texts, separated by commas, and how many more there are."""
    listed = [*texts]
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def lasting(seconds: float) -> str:
    """Write roughly how long something takes: 90 s, 12 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
