"""The metadata document survives its way through an artifact, or is refused with a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidArtifact
from app.metadata import RECIPE, Metadata
from tests import toys


def changed(**changes):
    return json.dumps({**json.loads(toys.metadata().dumps()), **changes})


@given(st.lists(st.text(max_size=20), min_size=2, max_size=30, unique=True))
def test_any_labels_survive(labels):
    document = toys.metadata(labels=tuple(labels))

    assert Metadata.loads(document.dumps()) == document


def test_what_a_newer_exporter_adds_is_kept():
    document = Metadata.loads(changed(calibration={"temperature": 1.5}, invented={"since": 2}))

    assert document.described()["calibration"] == {"temperature": 1.5}
    assert document.described()["invented"] == {"since": 2}


BRANCH = {"name": "a", "pooling": "max", "source": "", "width": 3}


def test_a_branch_names_its_output():
    assert toys.metadata().branches[0].output == "features_top_left"


def test_one_branch_is_enough_and_pools_over_the_whole_image_unless_it_says_otherwise():
    (branch,) = Metadata.loads(changed(branches=[BRANCH])).branches

    assert branch.region == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format"),
        ({"labels": ["one"]}, "labels"),
        ({"labels": ["one", "one"]}, "labels are not unique"),
        ({"branches": []}, "branches"),
        ({"branches": [{"name": "Top Left", "pooling": "max", "source": "", "width": 3}]}, "branches.0.name"),
        ({"branches": [{"name": "a", "pooling": "max", "source": "", "width": 0}]}, "branches.0.width"),
        ({"branches": [BRANCH, BRANCH]}, "branches are not unique"),
        *(
            ({"branches": [{**BRANCH, "region": region}]}, "region must be top, left, bottom and right")
            for region in ([-0.5, 0, 1, 1], [0, 0, 1, 1.5], [0.5, 0, 0.5, 1], [0, 0.6, 1, 0.4])
        ),
        *(
            ({"recipe": {"value_range": text}}, "two finite numbers, the lower first")
            for text in ([1, 1], [2, 1], ["-inf", 1], [0, "inf"], [0, "nan"])
        ),
        ({"recipe": {"id": "nearest-1"}}, f"'nearest-1', but this version carries out '{RECIPE}'"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_reason(changes, message):
    with pytest.raises(InvalidArtifact, match=message):
        Metadata.loads(changed(**changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_text_that_is_no_such_document(text):
    with pytest.raises(InvalidArtifact, match="its metadata is invalid"):
        Metadata.loads(text)
