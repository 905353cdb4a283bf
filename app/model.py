"""One ONNX Runtime session with its metadata: load, check, warm up, run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime as ort

from app import devices, digest
from app.devices import CPU, CUDA
from app.errors import DeviceUnavailable, InvalidArtifact
from app.explanation import BIAS, KERNEL, Head
from app.images import Shape
from app.metadata import KEY, Metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Device = Literal["cuda", "cpu"]

INPUT = "image"
_FATAL = 4
_CUDA_OPTIONS = {
    # The default, EXHAUSTIVE, times every algorithm at the first run of each shape and may choose differently
    # each time; the heuristic answers at once and always alike.
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}


@dataclass(frozen=True)
class Outputs:
    """What a model says about a batch; row ``i`` belongs to image ``i``.

    Attributes:
        probabilities: ``float32 [N, classes]``.
        logits: ``float32 [N, classes]``.
        features: per branch, in the model's order, ``float32 [N, width]``.
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    features: tuple[NDArray[np.float32], ...]


class Model:
    """A loaded artifact, safe to run from several threads at once."""

    def __init__(self, session: ort.InferenceSession, metadata: Metadata, shape: Shape, sha256: str) -> None:
        self.metadata = metadata
        self.shape = shape
        """Size of the images it reads."""
        self.sha256 = sha256
        """Digest of the file's bytes, in hexadecimal."""
        self.execution_provider: str = session.get_providers()[0]
        """The ONNX Runtime execution provider that really runs it."""
        self.head: Head | None = None
        """The dense layer behind the logits, once warm; None where the artifact does not carry it."""
        self._session = session
        self._names = ["probabilities", "logits", *(branch.output for branch in metadata.branches)]

    @classmethod
    def load(cls, data: bytes, device: Device, threads: int = 0) -> Model:
        """Load an artifact from its bytes.

        Bytes and not a path: ONNX Runtime then refuses external data, and what is hashed is what is loaded.

        Args:
            data: Content of a ``model.onnx``.
            device: ``cuda`` runs on CUDA alone or not at all.
            threads: Threads of one run on the CPU; 0 lets ONNX Runtime choose.

        Raises:
            InvalidArtifact: The bytes are not an ONNX model, or not one of ours; says why.
            DeviceUnavailable: ``device`` is ``cuda`` and CUDA cannot be used.
        """
        digest.check(data)
        session = _open(data, device, threads)
        try:
            text = session.get_modelmeta().custom_metadata_map.get(KEY)
        except UnicodeDecodeError:
            raise InvalidArtifact("its metadata is not UTF-8; export it again") from None
        if text is None:
            raise InvalidArtifact(f"it has no metadata {KEY!r}; publish models with 'python -m model_export train'")
        metadata = Metadata.loads(text)
        return cls(session, metadata, _check_signature(session, metadata), hashlib.sha256(data).hexdigest())

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        """Classify a batch ``uint8 [N, H, W, C]``."""
        probabilities, logits, *features = self._session.run(self._names, {INPUT: batch})
        return Outputs(probabilities, logits, tuple(features))

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run once per batch size, so that no request pays for it, and check that its head explains its logits.

        Raises:
            InvalidArtifact: The model fails, answers with numbers that are not finite, or carries a wrong head.
        """
        random = np.random.default_rng(0)
        try:
            self.head = self._read_head()
            answers = [self.run(random.integers(0, 256, (size, *self.shape), np.uint8)) for size in batch_sizes]
        except Exception as error:  # noqa: BLE001  # whatever the graph does wrong, it does it here first
            raise InvalidArtifact(f"it does not run: {_first_line(error)}") from None
        for outputs in answers:
            if not np.isfinite(outputs.logits).all():
                raise InvalidArtifact("it answers noise with numbers that are not finite")
            features = [vectors[0] for vectors in outputs.features]
            if self.head is not None and not self.head.explains(features, outputs.logits[0]):
                raise InvalidArtifact("the head it carries does not add up to its logits")

    def _read_head(self) -> Head | None:
        """Fetch the constants of the head, which the graph carries as outputs."""
        if not {KERNEL, BIAS} <= {output.name for output in self._session.get_outputs()}:
            return None
        kernel, bias = self._session.run([KERNEL, BIAS], {INPUT: np.zeros((1, *self.shape), np.uint8)})
        return Head(kernel, bias)


def _open(data: bytes, device: Device, threads: int) -> ort.InferenceSession:
    """Open a session on the device asked for, and on no other."""
    if device == "cpu":
        return _session(data, [CPU], threads)
    if (reason := devices.why_no_cuda()) is not None:
        raise DeviceUnavailable(f"CUDA cannot be used: {reason}")
    try:
        session = _session(data, [(CUDA, _CUDA_OPTIONS)], threads)
    except InvalidArtifact as error:
        _session(data, [CPU], threads)  # raises again when it is the file and not the device that is wrong
        raise DeviceUnavailable(f"CUDA cannot be used: {devices.missing_library() or error}") from None
    if session.get_providers()[0] != CUDA:
        raise DeviceUnavailable(f"CUDA cannot be used: {devices.missing_library() or 'ONNX Runtime left it out'}")
    return session


def _session(data: bytes, providers: list[Any], threads: int) -> ort.InferenceSession:
    ort.set_default_logger_severity(_FATAL)  # what goes wrong is raised, and said once by whoever catches it
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin take the cores away from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if providers != [CPU]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's exceptions share no base class
        raise InvalidArtifact(f"ONNX Runtime refuses it: {_first_line(error)}") from None
    session.disable_fallback()
    return session


def _check_signature(session: ort.InferenceSession, metadata: Metadata) -> Shape:
    """Compare the graph's inputs and outputs with what the metadata promises."""
    inputs = session.get_inputs()
    if [i.name for i in inputs] != [INPUT] or inputs[0].type != "tensor(uint8)" or len(inputs[0].shape) != 4:
        raise InvalidArtifact(f"its input must be {INPUT!r}, uint8 [batch, H, W, C], and nothing else")
    batch, *shape = inputs[0].shape
    if isinstance(batch, int) or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InvalidArtifact(f"its input {INPUT!r} must have a dynamic batch axis and a fixed height, width and depth")
    widths = {"probabilities": len(metadata.labels), "logits": len(metadata.labels)}
    widths |= {branch.output: branch.width for branch in metadata.branches}
    found = {output.name: output for output in session.get_outputs()}
    for name, width in widths.items():
        output = found.get(name)
        if output is None:
            raise InvalidArtifact(f"it has no output {name!r}, which its metadata promises")
        if output.type != "tensor(float)" or output.shape[1:] != [width]:
            raise InvalidArtifact(f"its output {name!r} must be float32 [batch, {width}], as its metadata promises")
    return Shape(*shape)


def _first_line(error: BaseException) -> str:
    """What ONNX Runtime said, without its codes."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip()).partition("\n")[0][:300]
