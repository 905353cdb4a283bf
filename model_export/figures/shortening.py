"""Names that are short enough for a picture, and still tell one class from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count

_CUT = "…"


def short_names(names: Sequence[str], length: int = 20) -> list[str]:
    """Shorten names so that those that differ still do.

    Long ones lose their ends. Those that would then look alike, such as two diseases of the same plant, lose their
    middles instead, or else their beginnings; and if they still look alike, they are numbered.

    Args:
        names: All that are in a picture.
        length: The most characters of each.
    """
    found = list(names)
    long = alike = [index for index, name in enumerate(names) if len(name) > length]
    for kept in (0, length // 2, length - 1):  # characters of the end
        for index in alike:
            name = names[index]
            found[index] = name[: length - 1 - kept] + _CUT + name[len(name) - kept :]
        times = Counter(found)
        alike = [index for index in long if times[found[index]] > 1]
    for index in alike:
        ends = (f"{_CUT}{number}" for number in count(index))
        found[index] = next(short for end in ends if (short := names[index][: length - len(end)] + end) not in found)
    return found
