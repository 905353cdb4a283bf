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
from app.drift import Drift
from app.errors import DeviceUnavailable, InvalidArtifact, InvalidParameter
from app.explanation import BIAS, KERNEL, Head, grid_of, maps_add_up
from app.familiarity import JOINT, Familiarity
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
    # Tensor cores in TF32 keep 10 bits of a factor: too few for contributions that add up to the logits.
    "use_tf32": "0",
}
GPU_LANES = 2
"""Batches in flight on a GPU: one is stacked and copied while the other is computed."""


@dataclass(frozen=True)
class Outputs:
    """What a model says about a batch; row ``i`` belongs to image ``i``.

    Attributes:
        probabilities: ``float32 [N, classes]``.
        logits: ``float32 [N, classes]``.
        features: per branch, in the model's order, ``float32 [N, width]``.
        familiarity: ``float32 [N, 1 + branches]``, see :class:`app.familiarity.Familiarity`; None where the artifact
            carries no statistics.
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    features: tuple[NDArray[np.float32], ...]
    familiarity: NDArray[np.float32] | None = None

    def row(self, index: int) -> Outputs:
        """Copy what belongs to one image, as a batch of one."""
        rows = slice(index, index + 1)
        return Outputs(
            self.probabilities[rows].copy(),
            self.logits[rows].copy(),
            tuple(vectors[rows].copy() for vectors in self.features),
            None if self.familiarity is None else self.familiarity[rows].copy(),
        )


Explained = tuple[Outputs, tuple["NDArray[np.float32]", ...]]
"""Outputs, and per branch what it pools, ``float32 [N, h, w, width]``."""


class Model:
    """A loaded artifact, safe to run from several threads at once.

    On a CPU it has two sessions: one computes in the caller's thread, so that as many images as there are cores go on
    side by side without waiting for each other; the other spreads a lone image over all cores.
    """

    def __init__(
        self, sessions: tuple[ort.InferenceSession, ...], metadata: Metadata, shape: Shape, sha256: str, lanes: int
    ) -> None:
        session = sessions[0]
        self.metadata = metadata
        self.shape = shape
        """Size of the images it reads."""
        self.sha256 = sha256
        """Digest of the file's bytes, in hexadecimal."""
        self.execution_provider: str = session.get_providers()[0]
        """The ONNX Runtime execution provider that really runs it."""
        self.head: Head | None = None
        """The dense layer behind the logits, once warm; None where the artifact does not carry it."""
        self.lanes = lanes
        """How many batches are best run at once."""
        self._session = session
        self._wide = sessions[-1]
        self._ways = (False, True) if len(sessions) > 1 else (False,)
        self._padded = self.execution_provider != CPU
        self._names = ["probabilities", "logits", *(branch.output for branch in metadata.branches)]
        self._maps = [branch.maps_output for branch in metadata.branches]
        self._options = ort.RunOptions()
        self._options.only_execute_path_to_fetches = True  # maps that nobody asks for are not made
        self.familiarity = _familiarity(metadata)
        """Scores of how well the model knows an image; None where the artifact carries no statistics."""
        self.drift: Drift | None = None
        """How the latest images differ from those of the training set, once warm; None without statistics."""
        self.has_maps = {*self._maps, KERNEL, BIAS} <= {output.name for output in session.get_outputs()}
        """Whether the artifact carries what its branches pool, and the head above it."""

    @classmethod
    def load(cls, data: bytes, device: Device, threads: int = 1) -> Model:
        """Load an artifact from its bytes.

        Bytes and not a path: ONNX Runtime then refuses external data, and what is hashed is what is loaded.

        Args:
            data: Content of a ``model.onnx``.
            device: ``cuda`` runs on CUDA alone or not at all.
            threads: Cores to use on the CPU: by as many runs at once, or all by a run that is alone.

        Raises:
            InvalidArtifact: The bytes are not an ONNX model, or not one of ours; says why.
            DeviceUnavailable: ``device`` is ``cuda`` and CUDA cannot be used.
        """
        digest.check(data)
        session = _open(data, device)
        try:
            text = session.get_modelmeta().custom_metadata_map.get(KEY)
        except UnicodeDecodeError:
            raise InvalidArtifact("its metadata is not UTF-8; export it again") from None
        if text is None:
            raise InvalidArtifact(f"it has no metadata {KEY!r}; publish models with 'python -m model_export train'")
        metadata = Metadata.loads(text)
        shape, sha256 = _check_signature(session, metadata), hashlib.sha256(data).hexdigest()
        if device == "cuda":
            return cls((session,), metadata, shape, sha256, GPU_LANES)
        wide = [_session(data, [CPU], threads)] if threads > 1 else []
        return cls((session, *wide), metadata, shape, sha256, threads)

    def run(self, batch: NDArray[np.uint8], *, alone: bool = False) -> Outputs:
        """Classify a batch ``uint8 [N, H, W, C]``; ``alone`` when no other run is likely to want the cores."""
        probabilities, logits, *features = self._run(self._names, batch, alone=alone)
        familiarity = self.familiarity.score(features) if self.familiarity else None
        if familiarity is not None and self.drift is not None:
            self.drift.observe(familiarity)
        return Outputs(probabilities, logits, tuple(features), familiarity)

    def run_with_maps(self, batch: NDArray[np.uint8]) -> Explained:
        """Classify a batch, and fetch what the branches pool as well.

        Raises:
            InvalidParameter: The artifact carries no maps.
        """
        if not self.has_maps:
            raise InvalidParameter(
                "the model carries no maps of what its branches pool, so it cannot be said where its answers come "
                "from: either something stands between the pools and the logits, or it is to be exported again"
            )
        results = self._run([*self._names, *self._maps], batch)
        probabilities, logits, *features = results[: len(self._names)]
        return Outputs(probabilities, logits, tuple(features)), tuple(results[len(self._names) :])

    def _run(self, names: list[str], batch: NDArray[np.uint8], *, alone: bool = False) -> list[NDArray[np.float32]]:
        size = len(batch)
        if self._padded:
            batch = _pad(batch)
        session = self._wide if alone else self._session
        results: list[NDArray[np.float32]] = session.run(names, {INPUT: batch}, self._options)
        return results if len(batch) == size else [result[:size] for result in results]

    def batch_sizes(self, largest: int) -> list[int]:
        """List the sizes of the batches that it is really run with, up to ``largest`` images.

        A GPU runs padded batches, so that cuDNN sees few shapes, each of them once before the first request. On a CPU
        nothing depends on the size; two images are run as well as one to see that the graph takes batches.
        """
        if self._padded:
            return [2**power for power in range((largest - 1).bit_length() + 1)]
        return sorted({1, min(2, largest)})

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run once per batch size, so that no request pays for it, and check that its head explains its logits.

        Raises:
            InvalidArtifact: The model fails, answers with numbers that are not finite, carries a wrong head, or does
                not answer its golden probe as it did when it was verified.
        """
        random = np.random.default_rng(0)
        try:
            self.head = self._read_head()
            noise = [random.integers(0, 256, (size, *self.shape), np.uint8) for size in batch_sizes]
            answers = [self.run(batch, alone=alone) for batch in noise for alone in self._ways]
        except Exception as error:  # noqa: BLE001  # whatever the graph does wrong, it does it here first
            raise InvalidArtifact(f"it does not run: {_first_line(error)}") from None
        self._replay_probe()
        for outputs in answers:
            if not np.isfinite(outputs.logits).all():
                raise InvalidArtifact("it answers noise with numbers that are not finite")
            features = [vectors[0] for vectors in outputs.features]
            if self.head is not None and not self.head.explains(features, outputs.logits[0]):
                raise InvalidArtifact("the head it carries does not add up to its logits")
        if self.has_maps:
            self._check_maps(random.integers(0, 256, (1, *self.shape), np.uint8))
        if self.familiarity is not None:
            self.drift = Drift([JOINT, *(branch.name for branch in self.metadata.branches)])

    def _check_maps(self, batch: NDArray[np.uint8]) -> None:
        outputs, maps = self.run_with_maps(batch)
        rows, columns = grid_of(self.metadata.branches[0], maps[0].shape[1:])
        if rows > self.shape.height or columns > self.shape.width:
            raise InvalidArtifact("the regions of its branches make a feature map that is larger than its input")
        features = [vectors[0] for vectors in outputs.features]
        if not maps_add_up(self.metadata.branches, [pooled[0] for pooled in maps], features):
            raise InvalidArtifact("the maps it carries do not pool to its features")

    def _replay_probe(self) -> None:
        """Ask the golden probe again, where the artifact carries one."""
        probe = self.metadata.probe
        if probe is None:
            return
        if probe.shape[3] != self.shape.channels or {len(row) for row in probe.probabilities} != {
            len(self.metadata.labels)
        }:
            raise InvalidArtifact("its golden probe does not fit its input and its labels; export it again")
        probe.replay(lambda batch: self.run(batch).probabilities, self.shape.height, self.shape.width)

    def _read_head(self) -> Head | None:
        """Fetch the constants of the head, which the graph carries as outputs."""
        if not {KERNEL, BIAS} <= {output.name for output in self._session.get_outputs()}:
            return None
        kernel, bias = self._session.run([KERNEL, BIAS], {INPUT: np.zeros((1, *self.shape), np.uint8)})
        return Head(kernel, bias)


def _pad(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill up to the next power of two with the first image."""
    missing = 2 ** (len(batch) - 1).bit_length() - len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], missing, 0)]) if missing else batch


def _open(data: bytes, device: Device) -> ort.InferenceSession:
    """Open a session on the device asked for, and on no other."""
    if device == "cpu":
        return _session(data, [CPU], 1)
    if (reason := devices.why_no_cuda()) is not None:
        raise DeviceUnavailable(f"CUDA cannot be used: {reason}")
    try:
        session = _session(data, [(CUDA, _CUDA_OPTIONS)], 1)
    except InvalidArtifact as error:
        _session(data, [CPU], 1)  # raises again when it is the file and not the device that is wrong
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


def _familiarity(metadata: Metadata) -> Familiarity | None:
    if metadata.statistics is None:
        return None
    if list(metadata.statistics.branches) != [branch.name for branch in metadata.branches]:
        raise InvalidArtifact("its statistics are not those of its branches; export it again")
    try:
        return Familiarity(metadata.statistics, [branch.width for branch in metadata.branches])
    except ValueError as error:
        raise InvalidArtifact(f"its statistics are damaged: {error}; export it again") from None


def _first_line(error: BaseException) -> str:
    """What ONNX Runtime said, without its codes."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip()).partition("\n")[0][:300]
