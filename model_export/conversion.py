"""From a trained Keras network to one self-describing ONNX file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx

from app import digest, explanation, metadata
from app.metadata import Metadata
from app.model import INPUT
from model_export.architectures import Network

BATCH = "batch"
OPSET = 18


def outputs(network: Network) -> keras.Model:
    """Build the model that is exported: from the image to every named output, over the trained layers."""
    layer = network.model.get_layer
    logits = network.model.output
    named = {branch.output: layer(branch.name).output for branch in network.branches}
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(network.model.input, {"probabilities": probabilities, "logits": logits, **named})


def convert(network: Network, document: Metadata) -> onnx.ModelProto:
    """Convert to ONNX with named outputs, a batch axis named ``batch`` and the metadata document inside.

    Returns:
        A model from ``image uint8 [batch, H, W, C]`` to ``probabilities``, ``logits`` and ``features_<branch>``,
        all ``float32 [batch, width]``, and to the constants ``head_kernel`` and ``head_bias``. The file is complete in
        itself: no external data.
    """
    model = outputs(network)
    names = ["probabilities", "logits", *(branch.output for branch in network.branches)]
    signature = tf.TensorSpec((None, *network.model.input_shape[1:]), tf.uint8, name=INPUT)

    @tf.function(input_signature=[signature])
    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(image, training=False)

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    proto, _ = tf2onnx.convert.from_function(answer, input_signature=[signature], opset=OPSET)
    _name_batch_axis(proto, names)
    _add_head(proto, network)
    proto.producer_name = "multipool"
    onnx.helper.set_model_props(proto, {metadata.KEY: document.dumps()})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Write the file with its digest, and see that its bytes have reached the disk."""
    with path.open("wb") as file:
        file.write(digest.stamp(proto.SerializeToString()))
        file.flush()
        os.fsync(file.fileno())


def _add_head(proto: onnx.ModelProto, network: Network) -> None:
    """Carry the head's weights as constant outputs, with which the service explains the logits."""
    kernel, bias = network.model.get_layer("logits").get_weights()
    for name, value in ((explanation.KERNEL, kernel), (explanation.BIAS, bias)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, f"{name}_value"))
        proto.graph.node.append(onnx.helper.make_node("Identity", [f"{name}_value"], [name], name=name))
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape))


def _name_batch_axis(proto: onnx.ModelProto, names: list[str]) -> None:
    """Name the first axis of the input and of every output, and bring the outputs into their documented order."""
    by_name = {output.name: output for output in proto.graph.output}
    ordered = [by_name[name] for name in names]
    del proto.graph.output[:]
    proto.graph.output.extend(ordered)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    # Shapes that the converter noted on the way name the axis otherwise; ONNX Runtime infers them anew.
    del proto.graph.value_info[:]
