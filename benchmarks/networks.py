"""Untrained networks of the real architectures: what they answer does not matter here, what they cost does.

``python -m benchmarks.networks TRUNK SIDE FILE`` makes one; only that process needs TensorFlow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.registry.layout import FILE

HOME = Path(".venv/benchmark")


def repository(trunk: str, side: int) -> Path:
    """Make a model repository with one such model, once.

    Args:
        trunk: As ``python -m model_export train --trunk``.
        side: Height and width of its images.

    Returns:
        The file ``<repository>/<name>/1/model.onnx``.
    """
    name = f"{trunk}-{side}"
    file = HOME / name / name / "1" / FILE
    if not file.exists():
        print(f"making the network {name}", flush=True)
        file.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "benchmarks.networks", trunk, str(side), file]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(command, check=True, env=quiet, stderr=subprocess.DEVNULL)
    return file


if __name__ == "__main__":
    from app.images import Shape
    from app.metadata import Metadata, Recipe
    from model_export import architectures, conversion

    trunk, side, path = sys.argv[1:]
    network = architectures.build("regions", trunk, Shape(int(side), int(side), 3), 10)
    labels = tuple(f"class_{index}" for index in range(10))
    document = Metadata(architecture="regions", labels=labels, branches=network.branches, recipe=Recipe(), trunk=trunk)
    conversion.save(conversion.convert(network, document), Path(path))
