"""One changed byte anywhere is found, and nothing else is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import digest
from app.errors import InvalidArtifact
from app.model import Model
from tests import toys

STAMPED = toys.artifact()


def test_a_stamped_file_is_sound():
    digest.check(STAMPED)
    assert len(STAMPED) == len(toys.proto().SerializeToString())


@given(st.integers(0, len(STAMPED) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(position, change):
    damaged = bytearray(STAMPED)
    damaged[position] ^= change

    with pytest.raises(InvalidArtifact):
        Model.load(bytes(damaged), "cpu")


@given(st.integers(0, len(STAMPED) - 1))
def test_a_cut_file_is_found(length):
    with pytest.raises(InvalidArtifact):
        Model.load(STAMPED[:length], "cpu")


def test_an_appended_byte_is_found():
    with pytest.raises(InvalidArtifact, match="damaged or changed"):
        digest.check(STAMPED + b"\0")


@pytest.mark.parametrize("text", ["{}", json.dumps(json.loads(toys.metadata().dumps()))])
def test_a_file_without_the_field_was_not_made_by_us(text):
    with pytest.raises(InvalidArtifact, match="no digest inside"):
        digest.check(toys.proto(text=text).SerializeToString())


def test_labels_cannot_pretend_to_be_the_field():
    digest.check(toys.artifact(labels=(f'"digest":"{digest.UNSTAMPED}"', "other")))
