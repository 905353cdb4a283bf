"""What a model must pass before it answers: on this device, it computes what was verified when it was published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.errors import InvalidArtifact
from app.explanation import Head, grid_of, maps_add_up
from app.metadata import Metadata
from app.outputs import Explained, Outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.images import Shape


def noise(size: int, shape: Shape) -> NDArray[np.uint8]:
    """Make a batch of noise, ``uint8 [size, H, W, C]``, always the same."""
    return np.random.default_rng(size).integers(0, 256, (size, *shape), np.uint8)


def check_answers(answers: Sequence[Outputs], head: Head | None) -> None:
    """Check that answers are numbers, and that the head explains them, where there is one.

    Raises:
        InvalidArtifact: They are not, or it does not.
    """
    for outputs in answers:
        if not np.isfinite(outputs.logits).all():
            raise InvalidArtifact("it answers noise with numbers that are not finite")
        if head is not None and not head.explains([vectors[0] for vectors in outputs.features], outputs.logits[0]):
            raise InvalidArtifact("the head it carries does not add up to its logits")


def check_maps(metadata: Metadata, shape: Shape, explained: Explained) -> None:
    """Check that what the branches pool is smaller than the image, and pools to the features.

    Args:
        shape: Size of the input.
        explained: Of one image.

    Raises:
        InvalidArtifact: It is not, or does not.
    """
    outputs, maps = explained
    rows, columns = grid_of(metadata.branches[0], maps[0].shape[1:])
    if rows > shape.height or columns > shape.width:
        raise InvalidArtifact("the regions of its branches make a feature map that is larger than its input")
    features = [vectors[0] for vectors in outputs.features]
    if not maps_add_up(metadata.branches, [pooled[0] for pooled in maps], features):
        raise InvalidArtifact("the maps it carries do not pool to its features")


def check_probe(metadata: Metadata, shape: Shape, answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    """Ask the golden probe again, where the artifact carries one.

    Args:
        shape: Size of the input.
        answer: From ``uint8 [N, H, W, C]`` to probabilities ``[N, classes]``.

    Raises:
        InvalidArtifact: It is not answered as when the model was verified.
    """
    probe = metadata.probe
    if probe is None:
        return
    if probe.shape[3] != shape.channels or {len(row) for row in probe.probabilities} != {len(metadata.labels)}:
        raise InvalidArtifact("its golden probe does not fit its input and its labels; export it again")
    probe.replay(answer, shape.height, shape.width)
