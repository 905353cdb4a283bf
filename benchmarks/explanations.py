"""Do explanations add up, do they mean something, and what do they cost?

The sums: for every image and class, bias and maps are added up in float64 and compared with the logit; the error is
relative to the largest logit of the image.

Whether they mean something: see :mod:`benchmarks.deletion`.

What a cell sees: rows and columns of pixels are changed, one after the other, and the cells that change are noted. A
cell's own pixels and those beside them that reach it are its field of view.

The cost: one connection, one image after the other; the three kinds of request take turns, so that whatever else the
machine does is shared by all.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from pathlib import Path

import numpy as np

from app import digest
from app.explanation import grid_of
from app.model import Model
from app.registry.artifacts import discover
from benchmarks import deletion
from benchmarks.familiarity import read
from benchmarks.service import ask, serving

_REQUESTS = 300
_MOVED = 1e-4  # what rounding alone does not do
_SIGHTS = 3


def largest_error(model: Model, batch: np.ndarray) -> float:
    """Largest relative error of bias plus maps against the logits."""
    worst = 0.0
    for image in batch:
        maps, logits = deletion.maps_of(model, image)
        sums = model.head.bias.astype(float) + maps.sum((1, 2, 3), dtype=float)
        worst = max(worst, float(np.abs(sums - logits).max() / np.abs(logits).max()))
    return worst


def sight(model: Model, image: np.ndarray) -> tuple[int, int]:
    """Height and width of what one cell sees, in pixels."""
    found = []
    before = model.run_with_maps(image[None])[1]
    for axis in (0, 1):
        reach = 0
        for line in range(image.shape[axis]):
            changed = image.copy()
            part = changed[line] if axis == 0 else changed[:, line]
            part[:] = 255 - part
            after = model.run_with_maps(changed[None])[1]
            for branch, old, new in zip(model.metadata.branches, before, after, strict=True):
                size = image.shape[axis] / grid_of(branch, old.shape[1:])[axis]
                first = branch.region[axis] * image.shape[axis]
                moved = np.unique(np.argwhere(np.abs(new - old)[0].max(-1) > _MOVED)[:, axis]) * size + first
                reach = max(reach, *(moved - line), *(line + 1 - moved - size), 0)
        found.append(round(min(size + 2 * reach, image.shape[axis])))
    return found[0], found[1]


def runs(path: Path) -> dict[str, float]:
    """Median microseconds of a run without maps: of the artifact, and of the same one without its outputs for them."""
    import onnx  # noqa: PLC0415  # not a part of the service

    data = path.read_bytes()
    proto = onnx.load_from_string(data)
    kept = [output for output in proto.graph.output if not output.name.startswith("maps_")]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    bare = digest.stamp(
        re.sub(rb'"digest":"[0-9a-f]{64}"', b'"digest":"' + b"0" * 64 + b'"', proto.SerializeToString())
    )
    models = {"with maps": Model.load(data, "cpu"), "without": Model.load(bare, "cpu")}
    image = np.zeros((1, *models["without"].shape), np.uint8)
    taken: dict[str, list[float]] = {kind: [] for kind in models}
    for _ in range(_REQUESTS):
        for kind, model in models.items():
            start = time.perf_counter()
            model.run(image)
            taken[kind].append(1e6 * (time.perf_counter() - start))
    return {kind: statistics.median(times) for kind, times in taken.items()}


def cost(repository: str, model: str, image: bytes) -> dict[str, float]:
    """Median milliseconds of each kind of request."""
    kinds = {
        "plain": f"/predict?model={model}",
        "explain=true": f"/predict?model={model}&explain=true",
        "POST /explain, JSON": f"/explain?model={model}",
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    with serving(repository) as service:
        connection = service.connect()
        for _ in range(_REQUESTS):
            for kind, path in kinds.items():
                start = time.perf_counter()
                ask(connection, path, image, "application/json")
                taken[kind].append(1000 * (time.perf_counter() - start))
    return {kind: statistics.median(times[20:]) for kind, times in taken.items()}


def main() -> None:
    """Print one block per model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explanations", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of images, at any depth")
    parser.add_argument("models", nargs="+", metavar="model", help="name of a model in the repository")
    parser.add_argument("--repository", default="models", help="model repository (default: %(default)s)")
    parser.add_argument("--count", type=int, default=1000, help="images to use at most (default: %(default)s)")
    arguments = parser.parse_args()
    paths = {found.name: found.path for found in discover(Path(arguments.repository))}
    for name in arguments.models:
        model = Model.load(paths[name].read_bytes(), "cpu")
        model.warm_up([1])
        batch, _ = read(str(arguments.folder), model, arguments.count)
        print(f"{name}: {len(batch):,} images")
        print(f"  largest relative error of the sums   {largest_error(model, batch):.1e}")
        deletion.report(deletion.falls(model, batch))
        seen = np.max([sight(model, image) for image in batch[:: max(1, len(batch) // _SIGHTS)]], 0)
        print(f"  a cell sees {seen[0]}×{seen[1]} pixels")
        image = next(path for path in sorted(arguments.folder.rglob("*")) if path.is_file()).read_bytes()
        times = cost(arguments.repository, name, image)
        print("  " + ", ".join(f"{kind} {milliseconds:.2f} ms" for kind, milliseconds in times.items()))
        print(
            "  maps not asked for: "
            + ", ".join(f"{kind} {time_us:.0f} µs" for kind, time_us in runs(paths[name]).items())
        )


if __name__ == "__main__":
    main()
