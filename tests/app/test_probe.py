"""The golden probe: what was verified at export must be what is computed where the model is served."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from pydantic import ValidationError

from app.errors import InvalidArtifact
from app.probe import Probe, enlarge
from tests import toys
from tests.conftest import serving, start


def probe(answers=((0.9, 0.1), (0.1, 0.9)), channels=3, tolerance=0.01):
    images = np.stack([np.full((4, 4, channels), value, np.uint8) for value in (0, 255)])
    return Probe.of(images, np.array(answers), tolerance)


def right():
    """The answers that a toy really gives to black and to white."""
    model = toys.load(toys.proto())
    return model.run(probe().batch(8, 8)).probabilities


def test_a_model_that_answers_as_verified_is_loaded():
    model = toys.load(toys.proto(probe=probe(right())))

    model.warm_up((1, 2))

    assert model.metadata.described()["probe"]["tolerance"] == 0.01
    assert "pixels" not in model.metadata.described()["probe"]


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (probe(((0.5, 0.5), (0.5, 0.5))), "golden probe is answered with probabilities that differ by 0.5"),
        (probe(((0.9, 0.1, 0),) * 2), "does not fit its input and its labels"),
        (probe(channels=1), "does not fit its input and its labels"),
        (probe().model_copy(update={"pixels": "AAAA"}), "pixels of its golden probe are damaged"),
        (probe().model_copy(update={"shape": (2, 9, 9, 3)}), "pixels of its golden probe are damaged"),
    ],
)
def test_a_model_that_answers_otherwise_is_refused(spoiled, message):
    model = toys.load(toys.proto(probe=spoiled))

    with pytest.raises(InvalidArtifact, match=message):
        model.warm_up((1,))


def test_a_service_does_not_get_ready_with_it(tmp_path):
    toys.publish(tmp_path, "toy", 1, toys.artifact(probe=probe(((0.5, 0.5), (0.5, 0.5)))))

    process = start(tmp_path)
    code, text = process.wait(60), process.log_path.read_text()

    assert (code, "golden probe" in text) == (65, True), text


def test_pixels_are_repeated_to_the_input_size():
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)

    assert enlarge(image, 4, 6)[0, :, :, 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
    np.testing.assert_array_equal(Probe.of(image, np.ones((1, 2)), 0.1).batch(2, 2), image)


@pytest.mark.parametrize("shape", [(9, 9, 9, 3), (2, 0, 9, 3), (65, 1, 1, 3)])
def test_a_probe_whose_parts_do_not_fit_together_is_no_probe(shape):
    document = {**probe().model_dump(), "shape": shape}

    with pytest.raises(ValidationError):
        Probe.model_validate(document)


def runs_up_to(largest, **options):
    """A toy whose graph fails with more images than so many."""
    model = toys.proto(**options)
    softmax = model.graph.node.pop(next(i for i, n in enumerate(model.graph.node) if n.op_type == "Softmax"))
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.zeros(largest, np.float32), "places"),
            numpy_helper.from_array(np.array(0), "first"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["logits"], ["sizes"]),
            helper.make_node("Gather", ["sizes", "first"], ["images"]),
            helper.make_node("Constant", [], ["one"], value_int=1),
            helper.make_node("Sub", ["images", "one"], ["last"]),
            helper.make_node("Gather", ["places", "last"], ["zero"]),  # fails where there is no such place
            helper.make_node("Add", ["logits", "zero"], ["shifted"]),
        ]
    )
    softmax.input[0] = "shifted"
    model.graph.node.append(softmax)
    return toys.serialize(model)


def test_a_model_that_fails_on_its_golden_probe_alone_is_refused_beside_a_good_one(tmp_path):
    probe = Probe.of(np.zeros((3, 8, 8, 3), np.uint8), np.full((3, 2), 0.5, np.float32), 0.01)
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "toy", 2, runs_up_to(2, probe=probe))

    with serving(tmp_path) as client:
        (refused,) = client.get("/models").json()["refused"]

    assert refused["version"] == 2
    assert refused["reason"].startswith("it does not run: ")
