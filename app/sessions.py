"""ONNX Runtime's sessions: opened on the device asked for or not at all, and held to what their metadata promises."""

from __future__ import annotations

from typing import Any, Literal

import onnxruntime as ort

from app import devices
from app.devices import CPU, CUDA, first_line
from app.errors import DeviceUnavailable, InvalidArtifact
from app.images import Shape
from app.metadata import KEY, Metadata

Device = Literal["cuda", "cpu"]

INPUT = "image"
_FATAL = 4
_LEFT_OVER = "assigned to the default CPU EP"
_CUDA_OPTIONS = {
    # Which of cuDNN's heuristics is asked: the default, EXHAUSTIVE, asks the slower one (mode B), HEURISTIC the quick
    # one (mode A), DEFAULT for engines to fall back on. None of them times anything since ONNX Runtime 1.20.
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    # Tensor cores in TF32 keep 10 bits of a factor: too few for contributions that add up to the logits. ONNX Runtime
    # then leaves out all that cuDNN does with tensor cores, but where cuDNN has nothing else, it takes that after all,
    # so app.devices forbids TF32 as well.
    "use_tf32": "0",
}
_FLOAT16 = b'"precision":"float16"'  # in the metadata; inside a JSON text, a quotation mark of a string is escaped
_FOR_FLOAT16 = {"use_tf32": "1"}  # or else tensor cores, which float16 is for, are left out as well


def open_session(data: bytes, device: Device, threads: int = 1) -> ort.InferenceSession:
    """Open a session on the device asked for, and on no other; on the CPU, each run spreads over ``threads`` cores.

    Raises:
        InvalidArtifact: ONNX Runtime refuses the bytes.
        DeviceUnavailable: ``device`` is ``cuda`` and CUDA cannot be used.
    """
    if device == "cpu":
        return _session(data, [CPU], threads)
    devices.require_cuda()
    devices.load_libraries()
    try:
        session = _session(data, [(CUDA, _CUDA_OPTIONS | (_FOR_FLOAT16 if _FLOAT16 in data else {}))], 1)
    except InvalidArtifact as error:
        _session(data, [CPU], 1)  # raises again when it is the file and not the device that is wrong
        missing = devices.missing_library()
        if missing is None and _LEFT_OVER in str(error):
            raise DeviceUnavailable(
                "CUDA has no kernels for all that it computes; publish it again, in float32 or float16 (int8 is for "
                "CPUs), or set MULTIPOOL_DEVICE=auto, which runs it on the CPU"
            ) from None
        raise _unusable(missing, error) from None
    if session.get_providers()[0] != CUDA:
        raise _unusable(devices.missing_library(), "ONNX Runtime left it out")
    return session


def _unusable(missing: str | None, otherwise: object) -> DeviceUnavailable:
    """Name the library that is missing and what to install, or if there is none, what else is wrong."""
    reason = otherwise if missing is None else f"{missing}; {devices.INSTALL}"
    return DeviceUnavailable(f"CUDA cannot be used: {reason}")


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
        # Falling back, it would print, and raise what then went wrong with the CPU instead.
        session = ort.InferenceSession(data, options, providers=providers, enable_fallback=0)
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's exceptions share no base class
        raise InvalidArtifact(f"ONNX Runtime refuses it: {first_line(error)}") from None
    return session


def read_metadata(session: ort.InferenceSession) -> Metadata:
    """Read what the artifact says about itself.

    Raises:
        InvalidArtifact: It says nothing, or nothing that can be understood.
    """
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise InvalidArtifact(f"it has no metadata {KEY!r}; publish models with 'python -m model_export train'")
    return Metadata.loads(text)


def check_signature(session: ort.InferenceSession, metadata: Metadata) -> Shape:
    """Compare the graph's inputs and outputs with what the metadata promises; returns the size of the input.

    Raises:
        InvalidArtifact: They differ.
    """
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
