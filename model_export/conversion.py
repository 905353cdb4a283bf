"""From a trained Keras network to one self-describing ONNX file."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from app import digest, explanation, metadata, sessions
from app.metadata import Metadata
from app.sessions import INPUT
from model_export import files
from model_export.architectures import Network

BATCH = "batch"
OPSET = 18

_CHANNELS_LAST = [0, 2, 3, 1]
_SPATIAL = [2, 3]  # with the channels first, as inside the graph
_POOLS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)


def outputs(network: Network) -> keras.Model:
    """Build the model that is exported: from the image to every named output, over the trained layers."""
    layer = network.model.get_layer
    logits = network.model.output
    named = {branch.output: layer(branch.name).output for branch in network.branches}
    if adds_up(network):
        named |= {branch.maps_output: layer(branch.name).input for branch in network.branches}
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(network.model.input, {"probabilities": probabilities, "logits": logits, **named})


def adds_up(network: Network) -> bool:
    """Whether every logit is the sum of its bias and one contribution per branch, each of a feature map.

    This is so if the head is one linear dense layer directly on the concatenated vectors of the branches, and each
    branch pools a feature map; dropout may be between, as it does nothing outside training. Any other network is
    exported without head and maps, and cannot be explained.
    """
    layer = network.model.get_layer
    head = layer("logits")
    if not isinstance(head, keras.layers.Dense) or head.activation is not keras.activations.linear:
        return False
    joined = _producer(head.input)
    while isinstance(joined, keras.layers.Dropout):
        joined = _producer(joined.input)
    pooled = joined.input if isinstance(joined, keras.layers.Concatenate) else [joined.output]
    branches = [layer(branch.name) for branch in network.branches]
    straight = len(pooled) == len(branches) and all(
        tensor is branch.output for tensor, branch in zip(pooled, branches, strict=True)
    )
    return straight and all(isinstance(branch, _POOLS) for branch in branches)


def _producer(tensor: keras.KerasTensor) -> keras.layers.Layer:
    return tensor._keras_history.operation


def convert(network: Network, document: Metadata) -> onnx.ModelProto:
    """Convert to ONNX with named outputs, a batch axis named ``batch`` and the metadata document inside.

    Returns:
        A model from ``image uint8 [batch, H, W, C]`` to ``probabilities``, ``logits`` and ``features_<branch>``,
        all ``float32 [batch, width]``. Where the logits can be explained exactly (:func:`adds_up`), also to
        ``maps_<branch>``, ``float32 [batch, h, w, width]``, which the branch pools, and to the constants
        ``head_kernel`` and ``head_bias``. The file is complete in itself: no external data.
    """
    model = outputs(network)
    signature = tf.TensorSpec((None, *network.model.input_shape[1:]), tf.uint8, name=INPUT)

    @tf.function(input_signature=[signature])
    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(image, training=False)

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with _collecting():
        proto, _ = tf2onnx.convert.from_function(answer, input_signature=[signature], opset=OPSET)
    _name_batch_axis(proto, list(model.output))
    _infer_batches(proto, network)
    if adds_up(network):
        _pool_untransposed(proto, network)
        _add_head(proto, network)
    _leave_out_unused(proto.graph)
    proto.producer_name = "multipool"
    set_metadata(proto, document)
    onnx.checker.check_model(proto, full_check=True)
    return proto


@contextmanager
def _collecting() -> Iterator[None]:
    """Collect garbage often, but only what is made here.

    tf2onnx copies the whole graph for each of its passes, about two dozen, and leaves the copies in cycles. They are
    few objects that hold all weights, so the collector would find them only when they fill gigabytes.
    """
    usual = gc.get_threshold()
    gc.freeze()  # leaves out what was there before: TensorFlow has too many objects to go through so often
    gc.collect()
    gc.set_threshold(100, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def set_metadata(proto: onnx.ModelProto, document: Metadata) -> None:
    """Set the metadata document of a converted model."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {metadata.KEY: document.dumps()})


def stamped(proto: onnx.ModelProto) -> bytes:
    """Serialise a model, with its digest."""
    return digest.stamp(proto.SerializeToString())


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Write the file with its digest, completely or not at all."""
    files.write(path, stamped(proto))


def _pool_untransposed(proto: onnx.ModelProto, network: Network) -> None:
    """Pool the maps before they are transposed, so that a run without maps transposes nothing.

    ONNX Runtime would do this itself if the maps were not outputs of the graph.
    """
    made_by = {name: node for node in proto.graph.node for name in node.output}
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(_SPATIAL), "spatial_axes"))
    for branch in network.branches:
        pool, maps = made_by[branch.output], made_by[branch.maps_output]
        transposed = maps.op_type == "Transpose" and list(maps.attribute[0].ints) == _CHANNELS_LAST
        if transposed and pool.op_type in ("ReduceMean", "ReduceMax") and pool.input[0] == branch.maps_output:
            pool.input[:] = [maps.input[0], "spatial_axes"]


def _infer_batches(proto: onnx.ModelProto, network: Network) -> None:
    """Have reshapes infer the number of images, where the graph works out the whole shape from that of its input.

    ONNX Runtime leaves such arithmetic to the CPU even on a GPU, where the service runs a model whole or not at all.
    """
    constants = {constant.name for constant in proto.graph.initializer}
    reshapes = [node for node in proto.graph.node if node.op_type == "Reshape" and node.input[1] not in constants]
    shapes = sorted({node.input[1] for node in reshapes})
    if not shapes:
        return
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    described = onnx.helper.make_tensor_value_info
    asked.graph.output.extend(described(name, onnx.TensorProto.INT64, [None]) for name in shapes)
    session = sessions.open_session(asked.SerializeToString(), "cpu")
    size = network.model.input_shape[1:]
    one, two = (session.run(shapes, {INPUT: np.zeros((images, *size), np.uint8)}) for images in (1, 2))
    for name, of_one, of_two in zip(shapes, one, two, strict=True):
        shape = np.where(of_one == of_two, of_one, -1)  # -1: whatever is left
        proto.graph.initializer.append(onnx.numpy_helper.from_array(shape, f"{name}_inferred"))
    for node in reshapes:
        node.input[1] = f"{node.input[1]}_inferred"


def _leave_out_unused(graph: onnx.GraphProto) -> None:
    """Leave out what no output depends on; ONNX Runtime would do so too, but warn of constants."""
    used = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if used & set(node.output):
            used |= set(node.input)
        else:
            graph.node.remove(node)
    for constant in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(constant)


def _add_head(proto: onnx.ModelProto, network: Network) -> None:
    """Add the head's weights as constant outputs, with which the service explains the logits."""
    kernel, bias = network.model.get_layer("logits").get_weights()
    for name, value in ((explanation.KERNEL, kernel), (explanation.BIAS, bias)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, f"{name}_value"))
        proto.graph.node.append(onnx.helper.make_node("Identity", [f"{name}_value"], [name], name=name))
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape))


def _name_batch_axis(proto: onnx.ModelProto, names: list[str]) -> None:
    """Name the first axis of the input and of every output, and bring the outputs into their documented order."""
    by_name = {output.name: output for output in proto.graph.output}
    ordered = [by_name[name] for name in names]
    # The converter lists constants that the trunk's scaling holds as inputs, too, though no node reads them.
    for constant in [one for one in proto.graph.input if one.name != INPUT]:
        proto.graph.input.remove(constant)
    del proto.graph.output[:]
    proto.graph.output.extend(ordered)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    # The converter's intermediate shapes name the axis differently; ONNX Runtime infers them again.
    del proto.graph.value_info[:]
