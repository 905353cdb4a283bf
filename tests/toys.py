"""Toy artifacts in milliseconds: a five-node network per branch whose answers can be worked out by hand."""

from __future__ import annotations

import io

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app import digest
from app.metadata import KEY, Branch, Metadata, Recipe
from app.model import Model

QUADRANTS = ("top_left", "top_right", "bottom_left", "bottom_right")
POOLINGS = ("average", "max", "average", "max")


def metadata(channels=3, labels=("dark", "bright"), **changes):
    """The metadata document of a toy."""
    branches = tuple(
        Branch(name=name, pooling=pooling, source=f"the {name} quadrant of the image", width=channels)
        for name, pooling in zip(QUADRANTS, POOLINGS, strict=True)
    )
    fields = {"architecture": "regions", "labels": labels, "branches": branches, "recipe": Recipe()}
    return Metadata(**{**fields, **changes})


def proto(height=8, width=8, channels=3, *, text=None, gain=8.0, offset=0.5, head=True, **changes):
    """A model that pools the quadrants of the image and calls it bright above ``offset`` of full brightness.

    Its logits are ``±gain * (mean of the pooled features - offset)``.
    """
    document = metadata(channels, **changes)
    classes, features = len(document.labels), 4 * channels
    weights = np.zeros((features, classes), np.float32)
    weights[:, 0], weights[:, 1] = -gain / features, gain / features
    bias = np.zeros(classes, np.float32)
    bias[0], bias[1] = gain * offset, -gain * offset
    initializers = [
        numpy_helper.from_array(np.float32(1 / 255), "scale"),
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(bias, "bias"),
        numpy_helper.from_array(np.array([1, 2]), "axes"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
    ]
    for index, branch in enumerate(document.branches):
        top, left = (index // 2) * (height // 2), (index % 2) * (width // 2)
        bottom, right = (height // 2, height)[index // 2], (width // 2, width)[index % 2]
        initializers += [
            numpy_helper.from_array(np.array([top, left]), f"starts_{index}"),
            numpy_helper.from_array(np.array([bottom, right]), f"ends_{index}"),
        ]
        pool = "ReduceMean" if branch.pooling == "average" else "ReduceMax"
        nodes += [
            helper.make_node("Slice", ["scaled", f"starts_{index}", f"ends_{index}", "axes"], [f"part_{index}"]),
            helper.make_node(pool, [f"part_{index}", "axes"], [branch.output], keepdims=0),
        ]
    nodes += [
        helper.make_node("Concat", [branch.output for branch in document.branches], ["pooled"], axis=1),
        helper.make_node("Gemm", ["pooled", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = []
    if head:
        nodes += [
            helper.make_node("Identity", ["weights"], ["head_kernel"]),
            helper.make_node("Identity", ["bias"], ["head_bias"]),
        ]
        constants = [("head_kernel", weights.shape), ("head_bias", bias.shape)]
    outputs = [("probabilities", classes), ("logits", classes), *((b.output, channels) for b in document.branches)]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", height, width, channels])],
        [
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in outputs),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in constants),
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {KEY: document.dumps() if text is None else text})
    return model


def artifact(*arguments, **options):
    """The bytes of a toy's ``model.onnx``."""
    return serialize(proto(*arguments, **options))


def serialize(model):
    """The bytes of a model, stamped with their digest where there is a place for it."""
    data = model.SerializeToString()
    return digest.stamp(data) if digest.UNSTAMPED.encode() in data else data


def publish(root, name, version=1, data=None):
    """Put an artifact into a model repository."""
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(artifact() if data is None else data)
    return folder / "model.onnx"


def save(image, kind="PNG", **options):
    """Encode a Pillow image or an array."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(value, size=(8, 8), kind="PNG"):
    """Encode an image of one grey value in all three channels."""
    return save(Image.new("RGB", size, (value, value, value)), kind)


def load(model):
    """Load a protocol buffer with the service's own loader."""
    return Model.load(serialize(model), device="cpu")
