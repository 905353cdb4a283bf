"""Smaller numbers for the published graph: float16 for GPUs, int8 for CPUs; pools and head always stay float32."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from app import memory
from app.model import Model
from app.sessions import INPUT
from model_export import conversion
from model_export.artifact import halving
from model_export.errors import PrecisionFailure
from model_export.figures.evaluation import logits
from model_export.figures.timing import batch, medians

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.data.split import Split
    from model_export.datasets import Dataset

LARGEST_FALL = 0.005
"""By how much validation accuracy may fall: half a point."""

_WAYS = ("Conv", "Relu"), ("Conv",)
"""Operators to quantise. Convolution and ReLU run as one, which is much faster; convolutions alone may lose less."""

_CALIBRATION_IMAGES = 256
_AT_ONCE = 32


@dataclass(frozen=True)
class Reduced:
    """The loss of accuracy and the gain of speed in a smaller precision."""

    precision: str
    accuracy_float32: float
    accuracy: float
    """Of the validation images, both."""
    agreement: float
    """Share of the validation images for which it and float32 name the same class."""
    speed: float
    """How many times as fast as float32, in batches on this machine's CPU."""
    largest_fall: float
    """By how much validation accuracy was allowed to fall."""

    @property
    def fall(self) -> float:
        """By how much validation accuracy fell; negative if it rose."""
        return round(self.accuracy_float32 - self.accuracy, 9)  # a difference of two rounded numbers

    def judgement(self) -> str:
        """Describe the answers, by which it is judged."""
        lost = f"{self.fall:.4f} lost" if self.fall > 0 else "none lost"
        return (
            f"{self.accuracy:.4f} of the validation images are right, {self.accuracy_float32:.4f} in float32 ({lost}, "
            f"{self.largest_fall:g} allowed); for {self.agreement:.4f} both name the same class"
        )

    def resolution(self, images: int) -> str:
        """Say how precise an accuracy on this number of validation images is."""
        share, allowed = 1 / images, self.largest_fall
        if share <= allowed:
            return f"one of the {images:,} validation images is {share:.4f} of the accuracy"
        return (
            f"{images:,} validation images are too few to show a loss of {100 * allowed:g} points of accuracy (one "
            f"image is {100 * share:.2g}): published without that proof"
        )


def reduce(proto: onnx.ModelProto, precision: str, dataset: Dataset) -> tuple[onnx.ModelProto, Reduced]:
    """Convert a verified float32 graph, in the fastest way that keeps its accuracy, and measure the result.

    Raises:
        PrecisionFailure: Validation accuracy falls by more than half a point in every way.
    """
    for operators in _WAYS if precision == "int8" else _WAYS[:1]:
        smaller = convert(proto, precision, dataset.splits["train"], operators)
        reduced = _measure(proto, smaller, precision, dataset.splits["validation"])
        if reduced.fall <= reduced.largest_fall:
            return smaller, reduced
    raise PrecisionFailure(f"{precision} loses too much: {reduced.judgement()}")


def _measure(proto: onnx.ModelProto, smaller: onnx.ModelProto, precision: str, split: Split) -> Reduced:
    models = [Model.load(conversion.stamped(each), device="cpu") for each in (proto, smaller)]
    answers = [logits(model, split).argmax(1) for model in models]
    right = [float((answer == split.labels).mean()) for answer in answers]
    before, after = medians(models, batch(split.images))
    agreement = float((answers[0] == answers[1]).mean())
    return Reduced(precision, *right, agreement, round(before / after, 2), LARGEST_FALL)


def convert(
    proto: onnx.ModelProto, precision: str, train: Split, operators: tuple[str, ...] = _WAYS[0]
) -> onnx.ModelProto:
    """Convert a float32 graph with its metadata; ``operators`` are those to convert to int8."""
    smaller = halving.halved(proto) if precision == "float16" else _int8(proto, train, operators)
    onnx.helper.set_model_props(smaller, {entry.key: entry.value for entry in proto.metadata_props})
    smaller.producer_name = proto.producer_name
    return smaller


def _int8(proto: onnx.ModelProto, train: Split, operators: tuple[str, ...]) -> onnx.ModelProto:
    """Static quantisation, QDQ format, per channel: only convolutions, so that contributions add up exactly.

    Weights take seven bits: processors without VNNI add two products in 16 bits (VPMADDUBSW), which saturates with
    eight. 2 · 64 · 255 fits, so the answers do not depend on the processor.
    """
    from onnxruntime import quantization  # noqa: PLC0415  # needed only here

    with _no_advice(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantization.quantize_static(
            onnx.ModelProto.FromString(proto.SerializeToString()),
            path,
            _Reader(train),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(operators),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": False},
        )
        return onnx.load(path)


@contextmanager
def _no_advice() -> Iterator[None]:
    """Silence the advice that quantisation logs through the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


class _Reader:
    """Feeds training images, spread over the split, to the calibration in batches."""

    def __init__(self, train: Split) -> None:
        chosen = np.linspace(0, len(train) - 1, min(_CALIBRATION_IMAGES, len(train))).astype(int)
        size = memory.images_at_once(_AT_ONCE, *train.images.shape[1:3])
        self._batches: Iterator[NDArray[np.uint8]] = (
            np.asarray(train.images[chosen[start : start + size]]) for start in range(0, len(chosen), size)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
