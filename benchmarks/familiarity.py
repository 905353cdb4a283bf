"""Does familiarity tell images like those of the training set from others?

The area under the ROC curve (Hanley and McNeil 1982) of the familiarity that the service reports, joint and per
branch: the probability that a strange image is less familiar than a known one. Strange are images of other data sets,
and the known ones damaged in ways that cameras and pipelines damage images (after Hendrycks and Dietterich,
"Benchmarking neural network robustness to common corruptions", 2019). Also: the feature drift that the service tells of
them and, where the known images lie in a folder per class, of each class alone, which is another mix of classes and
nothing strange; the area for finding the model's own errors, by familiarity and by the probability of its answer; how
many known images fall below 0.01, which should be one in a hundred; and what a score costs.
"""

from __future__ import annotations

import argparse
import io
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from app import images
from app.drift import Drift, chance
from app.errors import InvalidUsage, MissingInput, ModelNotFound, MultipoolError
from app.familiarity import JOINT
from app.model import Model
from app.registry.artifacts import discover
from model_export.choices import DIGITS
from model_export.data.sources import digits, idx

_BATCH = 64
_CALLS = 2000


def read(source: str, model: Model, count: int) -> tuple[np.ndarray, list[str]]:
    """Read images spread evenly over a source; ``uint8 [N, H, W, C]``, and the names of their folders.

    Args:
        source: A folder of images, an IDX file as MNIST's (``.gz``), or ``digits``, those of scikit-learn.
        model: They are resized to its input size.
        count: At most.

    Raises:
        MissingInput: There is no such folder or file, or no image in it.
        BadData: The IDX file is damaged.
    """
    folders: list[str] = []
    if source == DIGITS:
        reads = [file.read for file in digits.listing().files["train"]]
    elif source.endswith(".gz"):
        reads = [partial(encoded, image) for image in idx.read(Path(source), 3)]
    else:
        found = [path for path in sorted(Path(source).rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
        reads, folders = [path.read_bytes for path in found], [path.parent.name for path in found]
    if not reads:
        raise MissingInput(f"{source} is no folder with images; name one, an IDX file that ends in .gz, or {DIGITS!r}")
    chosen = np.linspace(0, len(reads) - 1, min(count, len(reads))).astype(int)
    return np.stack([images.decode(reads[i](), model.shape) for i in chosen]), [folders[i] for i in chosen if folders]


def encoded(image: np.ndarray) -> bytes:
    """Write a grey image ``uint8 [H, W]`` as PNG, which models of three channels read too."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def damaged(batch: np.ndarray) -> dict[str, np.ndarray]:
    """Damage images: blur, noise, darkness, fog, strong compression, a blind camera."""
    random = np.random.default_rng(0)

    def each(change) -> np.ndarray:  # noqa: ANN001  # from one Pillow image to another
        modes = {1: lambda image: Image.fromarray(image[..., 0]), 3: Image.fromarray}
        changed = [np.asarray(change(modes[batch.shape[-1]](image))) for image in batch]
        return np.stack(changed).reshape(batch.shape)

    def compress(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=10)
        return Image.open(buffer)

    noisy = batch + random.normal(0, 20, batch.shape)
    return {
        "blurred (radius 2)": each(lambda image: image.filter(ImageFilter.GaussianBlur(2))),
        "noise (sd 20)": np.clip(noisy, 0, 255).astype(np.uint8),
        "half as bright": batch // 2,
        "fog (contrast 0.4)": (0.4 * batch + 0.6 * 200).astype(np.uint8),
        "JPEG quality 10": each(compress),
        "blind (all grey 40)": np.full_like(batch, 40) + random.integers(0, 3, batch.shape, np.uint8),
    }


def scores(model: Model, batch: np.ndarray) -> np.ndarray:
    """Compute familiarity; ``[N, 1 + branches]``."""
    return np.concatenate([model.run(batch[i : i + _BATCH]).familiarity for i in range(0, len(batch), _BATCH)])


def print_errors(model: Model, batch: np.ndarray, folders: list[str], familiarity: np.ndarray) -> None:
    """Print how well familiarity and probability find the model's own errors, where it is known what is right."""
    labels = model.metadata.labels
    if not folders or not set(folders) <= set(labels):
        return
    chances = np.concatenate([model.run(batch[i : i + _BATCH]).probabilities for i in range(0, len(batch), _BATCH)])
    wrong = np.array([labels[i] for i in chances.argmax(1)]) != folders
    if wrong.any() and not wrong.all():
        areas = [auroc(score[~wrong], score[wrong]) for score in (familiarity, chances.max(1))]
        print(f"AUROC for finding its {wrong.sum()} errors: joint {areas[0]:.3f}, probability {areas[1]:.3f}")


def auroc(known: np.ndarray, strange: np.ndarray) -> float:
    """Probability that a strange image scores lower than a known one, ties counting half."""
    return float(roc_auc_score(np.repeat([True, False], [len(known), len(strange)]), np.concatenate([known, strange])))


def drift(model: Model, found: np.ndarray) -> float:
    """What the service reports about a stream of images with these scores, of all branches together."""
    watched = Drift([JOINT, *model.metadata.statistics.branches], model.metadata.statistics.held_out, len(found))
    watched.observe(found, np.zeros(len(found), np.float32))
    return watched.summary().drift[JOINT]


def microseconds(model: Model, batch: np.ndarray) -> float:
    """Time that the score of one image takes, beside running the model."""
    features = model.run(batch[:1]).features
    start = time.perf_counter()
    for _ in range(_CALLS):
        model.familiarity.score(features)
    return 1e6 * (time.perf_counter() - start) / _CALLS


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.familiarity", description=__doc__)
    parser.add_argument("model", help="name of a model in the repository")
    parser.add_argument(
        "known",
        help="images of the kind the model was trained on, but not those it was trained on: a folder, or an IDX file",
    )
    parser.add_argument("strange", nargs="*", help="images of other kinds: folders, IDX files, or 'digits'")
    parser.add_argument(
        "--repository", type=Path, default=Path("models"), help="model repository (default: %(default)s)"
    )
    parser.add_argument(
        "--count", type=int, default=2000, help="images of each source to use at most (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        measure(arguments)
    except MultipoolError as error:
        parser.error(str(error))


def measure(arguments: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        MultipoolError: There is no such model or image, or the model carries no statistics.
    """
    paths = {found.name: found.path for found in discover(arguments.repository)}
    if arguments.model not in paths:
        raise ModelNotFound(f"{arguments.repository} has no model {arguments.model!r}; it has {', '.join(paths)}")
    model = Model.load(paths[arguments.model].read_bytes(), "cpu")
    model.warm_up([1])
    if model.familiarity is None:
        raise InvalidUsage(f"{arguments.model} carries no statistics")
    known, folders = read(arguments.known, model, arguments.count)
    others = {folder: read(folder, model, arguments.count)[0] for folder in arguments.strange}
    of_known = scores(model, known)
    names = [JOINT, *(branch.name for branch in model.metadata.branches)]
    held_out = model.metadata.statistics.held_out
    print(f"{arguments.model}, {len(known):,} known images; {100 * (of_known[:, 0] < 0.01).mean():.1f} % below 0.01")
    print(f"drift by chance, of 1,000 images and {held_out:,} held out: at most {chance(held_out, 1000):.3f}")
    print(f"{'AUROC against':<28}" + "".join(f"{name:>14}" for name in [*names, "drift"]))
    classes = [path for path in sorted(Path(arguments.known).glob("*")) if path.is_dir()]
    alone = {f"{path.name} alone": read(str(path), model, arguments.count)[0] for path in classes}
    for name, batch in (others | damaged(known) | alone).items():
        of_others = scores(model, batch)
        areas = [auroc(of_known[:, i], of_others[:, i]) for i in range(len(names))]
        print(f"{Path(name).name[:26]:<28}" + "".join(f"{each:>14.3f}" for each in [*areas, drift(model, of_others)]))
    print_errors(model, known, folders, of_known[:, 0])
    print(f"one score takes {microseconds(model, known):.0f} µs")


if __name__ == "__main__":
    main()
