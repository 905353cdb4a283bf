"""How long something takes is said in the unit that people would use."""

import pytest

from model_export.console.numbers import lasting


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5900, "98 min"), (9000, "2.5 h")]
)
def test_a_duration_is_said_roughly(seconds, words):
    assert lasting(seconds) == words
