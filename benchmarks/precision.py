"""How much faster a smaller precision is: ``python -m benchmarks.precision [TRUNK …]``, on 64×64 images in one thread.

Untrained networks serve for this, since their answers do not change their cost. All precisions run in turns; the
figures are medians.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx

from app.model import Model
from benchmarks import networks
from model_export import conversion
from model_export.artifact import precision
from model_export.console.streams import quiet
from model_export.data.split import Split
from model_export.figures.timing import medians

_SIDE = 64
_REPEATS = 9


def main() -> None:
    """Measure the trunks named on the command line."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (64, _SIDE, _SIDE, 3), np.uint8)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    text = "trunks to measure (default: plain batchnorm)"
    parser.add_argument("trunks", nargs="*", metavar="TRUNK", default=["plain", "batchnorm"], help=text)
    for trunk in parser.parse_args().trunks:
        proto = onnx.load(networks.repository(trunk, _SIDE))
        with quiet():
            smaller = [precision.convert(proto, kind, Split(images, np.zeros(64))) for kind in ("int8", "float16")]
        models = [Model.load(conversion.stamped(each), "cpu") for each in (proto, *smaller)]
        for size in (1, 32):
            seconds = np.median([medians(models, images[:size]) for _ in range(_REPEATS)], axis=0)
            whole, int8, float16 = 1000 * seconds / size
            print(
                f"{trunk:10} batch {size:2}: float32 {whole:.3f} ms an image, int8 {int8:.3f} ({whole / int8:.2f} times"
                f" as fast), float16 {float16:.3f} ({whole / float16:.2f} times)"
            )


if __name__ == "__main__":
    main()
