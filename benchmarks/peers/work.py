"""What every server of the comparison does with an image, so that only the servers differ.

Needs Pillow, NumPy and ONNX Runtime alone: each peer has an environment of its own.
"""

import io
import os

import numpy as np
import onnxruntime as ort
from PIL import Image

PORT = int(os.environ.get("PORT", "0"))
MODEL = os.environ.get("MODEL", "")
CORES = len(os.sched_getaffinity(0))


class Work:
    """One model on the CPU."""

    def __init__(self, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self._size = self._session.get_inputs()[0].shape[1:3]
        names = [output.name for output in self._session.get_outputs()]
        self._names = [name for name in names if name == "probabilities" or name.startswith("features_")]

    def decode(self, data: bytes) -> np.ndarray:
        """From bytes to ``uint8 [H, W, 3]``, by the recipe of the model."""
        height, width = self._size
        image = Image.open(io.BytesIO(data))
        side = 2 * max(height, width)
        image.draft(None, (side, side))
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """From ``uint8 [N, H, W, 3]`` to probabilities and features, ``[N, …]`` each."""
        return dict(zip(self._names, self._session.run(self._names, {"image": batch}), strict=True))

    def answer(self, data: bytes) -> dict[str, list[float]]:
        """All of it, for one image."""
        return row(self.run(self.decode(data)[None]), 0)


def row(outputs: dict[str, np.ndarray], index: int) -> dict[str, list[float]]:
    """What is answered for one image of a batch."""
    return {name: values[index].tolist() for name, values in outputs.items()}
