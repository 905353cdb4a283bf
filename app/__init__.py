"""HTTP service that classifies images with multi-pool ONNX models."""

import os

__version__ = "1.0.0"
"""Of the service and of the training, which are one project; ``pyproject.toml`` and the image take it from here."""

# From 1.29 on, ONNX Runtime's Linux wheels report to their maker unless told not to before the library is loaded
# (microsoft/onnxruntime, pull request 27379); switching it off later leaves an identifier on the disk and one report.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# The only matrix products made outside ONNX Runtime are tiny: threads of OpenBLAS's own would take the cores from it,
# and time and memory at the start. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
