"""Names of classes are shortened for pictures, and can still be told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_export.figures.shortening import short_names

LENGTH = 8
ALIKE = st.tuples(*[st.sampled_from(["", "a", "a…", "aaaa", "aaab", "…1", "aaaaaaaa", "baaaaaaaa"])] * 3).map("".join)
"""Parts that names share, so that many collide wherever they are cut."""


@given(st.lists(st.text(max_size=12) | ALIKE, unique=True, max_size=40))
def test_names_that_differ_still_do_and_none_is_too_long(names):
    short = short_names(names, LENGTH)

    assert len(set(short)) == len(names)
    assert max(map(len, short), default=0) <= LENGTH
    assert all(one == name for one, name in zip(short, names, strict=True) if len(name) <= LENGTH)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["healthy", "a rather long name of a class"], ["healthy", "a rather long name …"]),
        (
            ["Cherry_(including_sour)___Powdery_mildew", "Cherry_(including_sour)___healthy", "Blueberry___healthy"],
            ["Cherry_(i…ery_mildew", "Cherry_(i…___healthy", "Blueberry___healthy"],
        ),
        (
            ["in the middle of x alike" * 2, "in the middle of y alike" * 2],
            ["in the middle of x …", "in the middle of y …"],
        ),
        ([f"{'a' * 30}{letter}{'a' * 30}" for letter in "bcd"], [f"{'a' * 18}…{number}" for number in range(3)]),
    ],
)
def test_a_name_loses_its_end_or_its_middle_or_gets_a_number(names, short):
    assert short_names(names) == short
