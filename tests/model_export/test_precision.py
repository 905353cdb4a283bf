"""A graph of smaller numbers is loaded by the service like any other, and what it says of its branches adds up."""

import numpy as np
import onnx
import pytest

from app.model import Model
from model_export import conversion, verification
from model_export.artifact import precision
from model_export.data.split import Split
from model_export.datasets import Dataset
from model_export.errors import PrecisionFailure
from model_export.figures import timing
from tests import toys
from tests.model_export.test_export import SHAPE, trained


def images(count):
    return np.random.default_rng(1).integers(0, 256, (count, *SHAPE), np.uint8)


@pytest.mark.parametrize("architecture", ["regions", "gap", "separable"])
@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_contributions_add_up_in_every_precision(architecture, kind):
    network, document = trained(architecture)
    proto = conversion.convert(network, document)
    smaller = precision.convert(proto, kind, Split(images(40), np.zeros(40, np.int64)))
    onnx.checker.check_model(smaller, full_check=True)
    whole, model = (Model.load(conversion.stamped(each), device="cpu") for each in (proto, smaller))

    model.warm_up([1, 2])  # maps pool to features here, or this fails

    batch = images(4)
    expected, answered = whole.run(batch), model.run(batch)
    np.testing.assert_allclose(answered.logits, expected.logits, atol={"float16": 0.005, "int8": 0.2}[kind])
    assert not np.array_equal(answered.logits, expected.logits)
    for row, logits in enumerate(answered.logits):
        contributions = model.head.contributions([vectors[row] for vectors in answered.features])
        np.testing.assert_allclose(model.head.bias + contributions.sum(0), logits, atol=1e-4)


def test_int8_answers_alike_on_processors_that_add_pairs_of_products_in_16_bits():
    """Those without VNNI saturate there."""
    network, document = trained()
    train = Split(images(40), np.zeros(40, np.int64))
    smaller = precision.convert(conversion.convert(network, document), "int8", train)

    kernels = [
        onnx.numpy_helper.to_array(constant).astype(int)
        for constant in smaller.graph.initializer
        if constant.data_type == onnx.TensorProto.INT8 and len(constant.dims) == 4
    ]
    assert kernels
    assert all(2 * 255 * np.abs(kernel).max() < 2**15 for kernel in kernels)


def test_int8_falls_back_to_convolutions_alone_where_more_loses_too_much(monkeypatch):
    network, document = trained()
    proto = conversion.convert(network, document)
    splits = {"train": Split(images(40), np.zeros(40, np.int64)), "validation": Split(images(32), np.zeros(1000))}
    dataset = Dataset("toy", ("a", "b", "c"), SHAPE, splits)
    right = iter([950, 944, 950, 945, 950, 944, 950, 944])  # of 1000, by float32 and int8, each way
    monkeypatch.setattr(precision, "logits", lambda *_: np.eye(2)[(np.arange(1000) >= next(right)).astype(int)])

    smaller, reduced = precision.reduce(proto, "int8", dataset)

    assert (reduced.accuracy_float32, reduced.accuracy, reduced.agreement) == (0.95, 0.945, 0.995)
    assert "0.9450 of the validation images are right, 0.9500 in float32 (0.0050 lost, 0.005 allowed)" in (
        reduced.judgement()
    )
    fast, mild = (precision.convert(proto, "int8", splits["train"], way) for way in (("Conv", "Relu"), ("Conv",)))
    assert len(smaller.graph.node) == len(mild.graph.node) != len(fast.graph.node)
    with pytest.raises(PrecisionFailure, match=r"0\.9440 of the validation images are right"):
        precision.reduce(proto, "int8", dataset)


def test_convolutions_are_what_becomes_float16():
    network, document = trained()
    smaller = precision.convert(conversion.convert(network, document), "float16", Split(images(2), np.zeros(2)))

    constants = {constant.name: constant.data_type for constant in smaller.graph.initializer}
    kinds = {(node.op_type, constants.get(name)) for node in smaller.graph.node for name in node.input[1:2]}
    assert ("Conv", onnx.TensorProto.FLOAT16) in kinds
    assert ("MatMul", onnx.TensorProto.FLOAT) in kinds
    assert not kinds & {("Conv", onnx.TensorProto.FLOAT), ("MatMul", onnx.TensorProto.FLOAT16)}


@pytest.mark.parametrize("count", [1, 12, 32, 40])
def test_speeds_in_batches_are_those_of_32_images(count):
    found = timing.batch(images(count))

    assert len(found) == 32
    np.testing.assert_array_equal(found[: min(count, 32)], images(count)[:32])


@pytest.mark.parametrize("same_class", [False, True])
def test_rounding_is_measured_on_images_alone_and_not_on_noise(same_class):
    """For which it is too coarse; it is there to see whether two graphs that should be the same are."""
    model, batches = toys.load(toys.proto()), []

    class Reference:
        def predict_on_batch(self, batch):
            batches.append(batch)
            return verification.everything(model, batch)

    verification.compare(model, Reference(), (toys.plain(7),), same_class=same_class)

    assert max(map(len, batches)) == 32
    assert all((batch == 7).all() for batch in batches) is not same_class
