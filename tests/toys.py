"""Toy artifacts in milliseconds: a five-node network per branch whose answers can be worked out by hand."""

from __future__ import annotations

import io

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app import digest
from app.metadata import KEY, Branch, Metadata, Recipe
from app.model import Model
from model_export.artifact.gaussians import fit

QUADRANTS = ("top_left", "top_right", "bottom_left", "bottom_right")
POOLINGS = ("average", "max", "average", "max")
REGIONS = ((0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1), (0.5, 0, 1, 0.5), (0.5, 0.5, 1, 1))


def metadata(channels=3, labels=("dark", "bright"), **changes):
    """The metadata document of a toy."""
    branches = tuple(
        Branch(name=name, pooling=pooling, source=f"the {name} quadrant of the image", width=channels, region=region)
        for name, pooling, region in zip(QUADRANTS, POOLINGS, REGIONS, strict=True)
    )
    fields = {"architecture": "regions", "labels": labels, "branches": branches, "recipe": Recipe()}
    return Metadata(**{**fields, **changes})


def proto(height=8, width=8, channels=3, *, text=None, gain=8.0, offset=0.5, head=True, weights=None, **changes):
    """A model that pools the quadrants of the image and calls it bright above ``offset`` of full brightness.

    Its logits are ``±gain * (mean of the pooled features - offset)``, unless it is given other weights.
    """
    document = metadata(channels, **changes)
    classes, features = len(document.labels), 4 * channels
    if weights is None:
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
            helper.make_node("Slice", ["scaled", f"starts_{index}", f"ends_{index}", "axes"], [branch.maps_output]),
            helper.make_node(pool, [branch.maps_output, "axes"], [branch.output], keepdims=0),
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
        quadrant = ["batch", height // 2, width // 2, channels]
        constants += [(branch.maps_output, quadrant) for branch in document.branches]
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


def statistics(count=600, height=8, width=8, channels=3):
    """Statistics of a toy whose training images were noise, dark or bright."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, 2 * count)
    images = random.integers(0, 128, (2 * count, height, width, channels)) + 127 * targets[:, None, None, None]
    scaled = images.astype(np.float32) / 255
    pooled = {}
    for index, (name, pooling) in enumerate(zip(QUADRANTS, POOLINGS, strict=True)):
        top, left = (index // 2) * (height // 2), (index % 2) * (width // 2)
        part = scaled[:, top : top + height // 2, left : left + width // 2]
        pooled[name] = part.mean((1, 2)) if pooling == "average" else part.max((1, 2))
    train, held_out = (
        {name: values[half] for name, values in pooled.items()} for half in (slice(count), slice(count, None))
    )
    return fit(train, targets[:count], held_out)


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


def publish_many(root, name, count):
    """Put versions 1 to ``count`` of one artifact into a model repository: about a second of loading for 150."""
    first = publish(root, name)
    for number in range(2, count + 1):
        (root / name / str(number)).mkdir()
        (root / name / str(number) / "model.onnx").hardlink_to(first)


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


def scans(image, count):
    """Encode a Pillow image as a JPEG whose last scan comes so many times more."""
    data = save(image, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + count * last + data[-2:]


def load(model):
    """Load a protocol buffer with the service's own loader."""
    return Model.load(serialize(model), device="cpu")
