"""Memory against data size: ``python -m benchmarks.memory [IMAGES …]`` decodes into a cache and streams from it.

Each size runs in a process of its own. What counts is anonymous memory (``RssAnon``): pages of the cache that happen to
be in memory belong to the kernel, which takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (10_000, 100_000)
SIDE = 64


def main() -> None:
    """Measure every size named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    text = "sizes of the data set, in images (default: 10000 100000)"
    parser.add_argument("sizes", nargs="*", type=int, metavar="IMAGES", default=SIZES, help=text)
    for count in parser.parse_args().sizes:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder) / "data", count)
            subprocess.run([sys.executable, "-m", "benchmarks.memory", "--child", folder], check=True)


def _write(root: Path, count: int) -> None:
    """Write small JPEG files of noise in two classes."""
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
    for index in range(count):
        buffer = BytesIO()
        Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8)).save(buffer, "JPEG")
        (root / "ab"[index % 2] / f"{index:06}.jpg").write_bytes(buffer.getvalue())


def _child(folder: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from model_export import datasets  # noqa: PLC0415  # only the child needs them
    from model_export.fitting import batches  # noqa: PLC0415

    peak, start = [_anonymous()], _anonymous()
    threading.Thread(target=_watch, args=(peak,), daemon=True).start()
    began = time.monotonic()
    dataset = datasets.load(str(folder / "data"), size=(SIDE, SIDE), cache=folder / "cache")
    loaded = time.monotonic() - began
    shuffled = batches.Shuffled(dataset.splits["train"], 64, "photo", seed=0)
    for step in range(shuffled.steps):
        shuffled[step]
    size = sum(split.images.nbytes for split in dataset.splits.values())
    print(
        f"{sum(dataset.counts().values()):,} images, {size / 1e6:,.0f} MB decoded in {loaded:.0f} s: "
        f"{(max(peak) - start) / 1e6:,.0f} MB more memory than at the start"
    )


def _watch(peak: list[int]) -> None:
    while True:
        peak[0] = max(peak[0], _anonymous())
        time.sleep(0.02)


def _anonymous() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(Path(sys.argv[2]))
    else:
        main()
