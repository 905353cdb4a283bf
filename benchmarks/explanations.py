"""Do explanations add up, do they mean something, and what do they cost?

The sums: for every image and class, bias and maps are added up in float64 and compared with the logit; the error is
relative to the largest logit of the image.

The deletion test (Petsiuk, Das and Saenko, "RISE", 2018, in one step): a fifth of the pixels is replaced by the image's
mean colour, once where the map of the winning class is highest and once in random places of the same size and shape of
grid cells. A map means something if the first lowers the winner's probability more.

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

from app import digest, images
from app.artifacts import discover
from app.model import Model
from benchmarks.service import ask, serving

_SHARE = 0.2
_REQUESTS = 300
_DRAWS = 5


def read(folder: Path, model: Model, count: int) -> np.ndarray:
    """Decode images spread evenly over a folder; ``uint8 [N, H, W, C]``."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    return np.stack([images.decode(path.read_bytes(), model.shape) for path in chosen])


def maps_of(model: Model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the maps of every class; ``[classes, branches, h, w]``, and the logits ``[classes]``."""
    outputs, pooled = model.run_with_maps(image[None])
    one = [maps[0] for maps in pooled]
    labels = range(len(model.metadata.labels))
    return np.stack([model.head.maps(model.metadata.branches, one, label) for label in labels]), outputs.logits[0]


def largest_error(model: Model, batch: np.ndarray) -> float:
    """Largest relative error of bias plus maps against the logits."""
    worst = 0.0
    for image in batch:
        maps, logits = maps_of(model, image)
        sums = model.head.bias.astype(float) + maps.sum((1, 2, 3), dtype=float)
        worst = max(worst, float(np.abs(sums - logits).max() / np.abs(logits).max()))
    return worst


def deletion(model: Model, batch: np.ndarray) -> tuple[float, float, float]:
    """Share of the images for which the map's fifth matters more than a random one, and the mean falls of both."""
    random = np.random.default_rng(0)
    guided, blind = [], []
    for image in batch:
        maps, logits = maps_of(model, image)
        winner = int(logits.argmax())
        heat = maps[winner].sum(0)
        orders = [np.argsort(-heat, axis=None), *(random.permutation(heat.size) for _ in range(_DRAWS))]
        changed = np.stack([image, *(without(image, order, heat.shape) for order in orders)])
        before, first, *others = model.run(changed).probabilities[:, winner]
        guided.append(before - first)
        blind.append(before - np.mean(others))
    return float(np.mean(np.array(guided) > np.array(blind))), float(np.mean(guided)), float(np.mean(blind))


def without(image: np.ndarray, order: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Replace the first fifth of the grid's cells by the mean colour."""
    mask = np.zeros(grid, bool)
    mask.flat[order[: round(_SHARE * mask.size)]] = True
    height, width = image.shape[:2]
    whole = mask[np.arange(height) * grid[0] // height][:, np.arange(width) * grid[1] // width]
    return np.where(whole[..., None], image.mean((0, 1)).astype(np.uint8), image)


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explanations", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds images, at any depth")
    parser.add_argument("models", nargs="+", metavar="model")
    parser.add_argument("--repository", default="models")
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    paths = {found.name: found.path for found in discover(Path(arguments.repository))}
    for name in arguments.models:
        model = Model.load(paths[name].read_bytes(), "cpu")
        model.warm_up([1])
        batch = read(arguments.folder, model, arguments.count)
        better, guided, blind = deletion(model, batch)
        print(f"{name}: {len(batch):,} images")
        print(f"  largest relative error of the sums   {largest_error(model, batch):.1e}")
        print(f"  a fifth deleted: the map's matters more than a random one for {100 * better:.1f} % of the images;")
        print(f"    the probability falls by {guided:.3f} against {blind:.3f}")
        image = next(path for path in sorted(arguments.folder.rglob("*")) if path.is_file()).read_bytes()
        times = cost(arguments.repository, name, image)
        print("  " + ", ".join(f"{kind} {milliseconds:.2f} ms" for kind, milliseconds in times.items()))
        print(
            "  maps not asked for: "
            + ", ".join(f"{kind} {time_us:.0f} µs" for kind, time_us in runs(paths[name]).items())
        )


if __name__ == "__main__":
    main()
