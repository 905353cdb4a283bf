"""``python -m app predict``: the answers of the service, by the same code, without a service."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from tqdm import tqdm

from app import answers, cores, images, overlay, problems, tables
from app.artifacts import discover
from app.batching import Answer
from app.errors import InvalidArtifact, InvalidRequest, InvalidUsage, MissingInput, ModelNotFound, MultipoolError
from app.loading import Loader
from app.versions import Version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.settings import Settings

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"})
BAD_DATA = 65

Prediction = dict[str, Any]
Result = tuple[str, Prediction | MultipoolError]


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Classify what the command line names; returns the exit code.

    Raises:
        MissingInput, InvalidUsage, ModelNotFound, DeviceUnavailable, InvalidArtifact: See their texts.
    """
    files = find(arguments.images)
    version = open_version(settings, arguments.model)
    if arguments.explain is not None:
        _explain(version, files, arguments, settings)
    offline = Offline(version, settings, explain=arguments.json and arguments.explain is not None)
    if arguments.output is not None:
        return _tabulate(offline, files, arguments)
    results = offline.classify(files, top=arguments.top, features=arguments.json and arguments.features)
    if arguments.json:
        return _print_json(version, list(results), alone=arguments.images == files)
    return _print_lines(results, max(len(_name(file)) for file in files))


def find(named: list[Path]) -> list[Path]:
    """List the images that are named, and those in the folders that are, at any depth.

    Raises:
        MissingInput: There is no such file or folder, or no image in it.
    """
    files: list[Path] = []
    for path in named:
        if not path.exists():
            raise MissingInput(f"{path} does not exist; name an image, or a folder of images")
        inside = (one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        found = sorted(inside) if path.is_dir() else [path]
        if not found:
            raise MissingInput(f"{path} holds no image; images end in {', '.join(sorted(SUFFIXES))}")
        files += found
    return files


def open_version(settings: Settings, reference: str | None) -> Version:
    """Load the one model that is asked for, ``name`` or ``name:version``; None for the default.

    Raises:
        NothingToServe, ModelNotFound, InvalidArtifact, DeviceUnavailable: See their texts.
    """
    found = discover(settings.models_dir)
    wanted = reference or settings.default_model or found[0].name
    fitting = [one for one in found if wanted in (one.name, one.reference)]
    if not fitting:
        there = ", ".join(sorted({one.name for one in found}))
        raise ModelNotFound(f"there is no model {wanted!r}; there are {there}")
    chosen = fitting[-1]
    loader = Loader(device=settings.device, threads=cores.available(), max_batch_size=settings.max_batch_size)
    loader.check()
    try:
        model, _ = loader.open(chosen.path)
    except InvalidArtifact as error:
        raise InvalidArtifact(f"{chosen.path} cannot be used: {error}") from None
    return Version(chosen.name, chosen.number, model)


@dataclass(frozen=True)
class Offline:
    """A model that classifies files on the disk."""

    version: Version
    settings: Settings
    explain: bool = False

    def classify(self, files: Iterable[Path], *, top: int | None, features: bool) -> Iterator[Result]:
        """Classify in batches, in order; while one is run, the next is decoded, and no more than two are in memory.

        Yields:
            The file's name, and its prediction or why there is none.
        """
        model = self.version.model
        for batch in self._batches(files):
            good = [image for _, image in batch if not isinstance(image, MultipoolError)]
            outputs = model.run(np.stack(good)) if good else None
            row = 0
            for file, image in batch:
                if isinstance(image, MultipoolError) or outputs is None:
                    yield _name(file), image  # type: ignore[misc]  # without outputs there are only errors
                    continue
                yield (
                    _name(file),
                    answers.prediction(
                        self.version,
                        Answer(outputs, row, 0, 0, 0),
                        top=top,
                        features=features,
                        explain=self.explain,
                        min_confidence=self.settings.min_confidence,
                    ),
                )
                row += 1

    def _batches(self, files: Iterable[Path]) -> Iterator[list[tuple[Path, NDArray[np.uint8] | MultipoolError]]]:
        size, batch = self.settings.max_batch_size, []
        waiting: deque[tuple[Path, Future[NDArray[np.uint8] | MultipoolError]]] = deque()
        with ThreadPoolExecutor(cores.available()) as pool:
            for file in files:
                waiting.append((file, pool.submit(self.decode, file)))
                if len(waiting) < 2 * size:
                    continue
                yield [(path, future.result()) for path, future in (waiting.popleft() for _ in range(size))]
            while waiting:
                batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                yield [(path, future.result()) for path, future in batch]

    def decode(self, file: Path) -> NDArray[np.uint8] | MultipoolError:
        """Read a file as the model sees it, ``uint8 [H, W, C]``, or say why that cannot be done."""
        model = self.version.model
        try:
            return images.decode(
                file.read_bytes(),
                model.shape,
                value_range=model.metadata.recipe.value_range,
                max_pixels=self.settings.max_pixels,
            )
        except InvalidRequest as error:
            return error
        except OSError as error:
            return MissingInput(f"it cannot be read: {error.strerror}")


def _explain(version: Version, files: list[Path], arguments: argparse.Namespace, settings: Settings) -> None:
    """Draw where in the one image its label comes from."""
    if len(files) != 1 or arguments.output is not None:
        raise InvalidUsage("--explain draws over one image; name one, without --output")
    image = Offline(version, settings).decode(files[0])
    if not isinstance(image, MultipoolError):
        maps = answers.maps(version, version.model.run_with_maps(image[None]), label=None, branch=None)
        arguments.explain.write_bytes(overlay.picture(maps, image))


def _tabulate(offline: Offline, files: list[Path], arguments: argparse.Namespace) -> int:
    """Write a table, image by image, going on where an earlier run was interrupted."""
    with tables.open_journal(arguments.output, offline.version, features=arguments.features) as journal:
        left = [file for file in files if _name(file) not in journal.done]
        if len(left) < len(files):
            print(f"going on after {len(files) - len(left):,} images that are done", file=sys.stderr)
        results = offline.classify(left, top=None, features=arguments.features)
        for name, result in tqdm(
            results, total=len(files), initial=len(files) - len(left), unit="images", disable=None
        ):
            journal.write(name, result)
    rows, failed = tables.finish(journal)
    print(f"{arguments.output}: {rows:,} images, {failed:,} of which cannot be used", file=sys.stderr)
    return BAD_DATA if failed == rows else 0


def _print_json(version: Version, results: list[Result], *, alone: bool) -> int:
    """Print what ``POST /predict`` answers for one image, or ``POST /predict/batch`` for several."""

    def body(result: Prediction | MultipoolError) -> dict[str, Any]:
        if not isinstance(result, MultipoolError):
            return result
        return {"error": {"code": problems.kind_of(result).code, "detail": str(result)}}

    document: dict[str, Any] = {"model": version.name, "version": version.number}
    if alone and len(results) == 1:
        document = body(results[0][1])
    else:
        document["results"] = [{"filename": name, **body(result)} for name, result in results]
    print(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2).decode())
    return BAD_DATA if any(isinstance(result, MultipoolError) for _, result in results) else 0


def _print_lines(results: Iterator[Result], width: int) -> int:
    """Print a line for each image as soon as it is classified."""
    code = 0
    for name, result in results:
        if isinstance(result, MultipoolError):
            print(f"error: {name}: {result}", file=sys.stderr)
            code = BAD_DATA
            continue
        known = f"  familiarity {result['familiarity']['joint']:.2f}" if "familiarity" in result else ""
        print(f"{name:<{width}}  {result['label'] or '(uncertain)'}  {result['probability']:.4f}{known}")
    return code


def _name(file: Path) -> str:
    """Write a file's name down, also one that is not UTF-8."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")
