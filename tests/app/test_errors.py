"""The tree of errors, as it is drawn and as it is."""

import re

from app import errors


def drawn():
    """Each class of the tree, with the one above it."""
    above = []
    for indent, name in re.findall(r"^    ([│ ├└─]*)(\w+)", errors.__doc__, re.MULTILINE):
        depth = len(indent) // 4
        above[depth:] = [name]
        yield name, above[depth - 1] if depth else "Exception"


def test_the_tree_that_is_drawn_is_the_one_there_is():
    classes = [one for one in vars(errors).values() if isinstance(one, type)]

    assert list(drawn()) == [(one.__name__, one.__base__.__name__) for one in classes]
