"""A graph of smaller numbers is loaded by the service like any other, and what it says of its branches adds up."""

import numpy as np
import onnx
import pytest

from app.model import Model
from model_export import conversion, precision
from model_export.decoding import Split
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


def test_convolutions_are_what_becomes_float16():
    network, document = trained()
    smaller = precision.convert(conversion.convert(network, document), "float16", Split(images(2), np.zeros(2)))

    constants = {constant.name: constant.data_type for constant in smaller.graph.initializer}
    kinds = {(node.op_type, constants.get(name)) for node in smaller.graph.node for name in node.input[1:2]}
    assert ("Conv", onnx.TensorProto.FLOAT16) in kinds
    assert ("MatMul", onnx.TensorProto.FLOAT) in kinds
    assert not kinds & {("Conv", onnx.TensorProto.FLOAT), ("MatMul", onnx.TensorProto.FLOAT16)}
