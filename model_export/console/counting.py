"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun in the singular or plural: 1 epoch, 2,000 epochs."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
