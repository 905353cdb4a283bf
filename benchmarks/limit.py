"""``python -m benchmarks.limit MODEL IMAGE SECONDS``: what the cores can do without HTTP, in a process of its own.

As many threads as cores, each decoding one image and running the model on it, again and again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app import cores, images
from app.model import Model


def measure(model: Path, image: Path, seconds: float) -> tuple[float, float]:
    """Start such a process.

    Returns:
        Images per second, and milliseconds of processor time per image.
    """
    command = [sys.executable, "-m", "benchmarks.limit", str(model), str(image), str(seconds)]
    rate, cost = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return rate, cost


def _measure(model: Model, data: bytes, seconds: float) -> tuple[float, float]:
    def loop(deadline: float) -> int:
        done = 0
        while time.monotonic() < deadline:
            model.run(images.decode(data, model.shape)[None])
            done += 1
        return done

    threads = cores.available()
    with ThreadPoolExecutor(threads) as pool:
        before, deadline = time.process_time(), time.monotonic() + seconds
        done = sum(pool.map(loop, [deadline] * threads))
        return done / seconds, 1000 * (time.process_time() - before) / done


if __name__ == "__main__":
    path, image, seconds = sys.argv[1:]
    loaded = Model.load(Path(path).read_bytes(), "cpu")
    print(json.dumps(_measure(loaded, Path(image).read_bytes(), float(seconds))))
