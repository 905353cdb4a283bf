"""``python -m app predict``: the same answers as the service, from the same code, without a service."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from tqdm import tqdm

from app import answers, overlay, problems
from app.errors import InvalidUsage, MissingInput, MultipoolError
from app.escaping import printable
from app.offline import finding, identity, journal, tables
from app.offline.answering import Offline, Prediction, Result, open_version
from app.offline.journal import Journal
from app.registry.versions import Version

if TYPE_CHECKING:
    from app.offline.answering import Decoded
    from app.settings import Settings

BAD_DATA = 65


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Classify what the command line names; returns the exit code, which is 65 if an image cannot be used.

    Raises:
        MissingInput, InvalidUsage, ModelNotFound, DeviceUnavailable, InvalidArtifact: See their texts.
    """
    _check(arguments)
    files = finding.find(arguments.images)
    if arguments.explain is not None and len(files) != 1:
        raise InvalidUsage(f"--explain draws one image, and {len(files)} are named; name one")
    version = open_version(settings, arguments.model)
    if arguments.contributions:
        version.model.require_head()  # before any image is read
    explain = arguments.contributions or (arguments.json and arguments.explain is not None)
    offline = Offline(version, settings, explain=explain)
    decode = offline.decode if arguments.explain is None else cache(offline.decode)  # a pipe can be read only once
    if arguments.explain is not None:
        _explain(offline, decode(files[0]), arguments)
    if arguments.output is not None:
        try:
            failed = _tabulate(offline, files, arguments)
        except OSError as error:
            raise MultipoolError(
                f"{arguments.output} cannot be written: {error.strerror or error}; when that is solved, run the same "
                "command again to continue"
            ) from None
    else:
        features = arguments.json and arguments.features
        results = offline.classify(files, top=arguments.top, features=features, decode=decode)
        if arguments.json:
            failed = _print_json(version, list(results), alone=arguments.images == files)
        else:
            failed = _print_lines(results, max(len(printable(identity.name(file))) for file in files), _lowest(version))
        if failed and len(files) > 1:
            print(_count(files, failed), file=sys.stderr)
    return BAD_DATA if failed else 0


def _check(arguments: argparse.Namespace) -> None:
    """Check the options that need no model, before anything is loaded.

    Raises:
        InvalidUsage: They do not go together.
        MissingInput: There is no folder to write the picture into.
    """
    if arguments.explain is None:
        if arguments.label is not None or arguments.branch is not None:
            raise InvalidUsage("--label and --branch choose what --explain draws; add --explain OUT.png")
    elif arguments.output is not None:
        raise InvalidUsage("--explain draws one image, and --output writes a table; leave out one of them")
    elif arguments.explain.suffix.lower() not in ("", ".png"):
        raise InvalidUsage(f"--explain writes a PNG; give it a name that ends in .png, not {arguments.explain.name}")
    elif not arguments.explain.parent.is_dir():
        raise MissingInput(f"there is no folder {arguments.explain.parent} to write {arguments.explain.name} into")
    if arguments.contributions and not arguments.json and arguments.output is None:
        raise InvalidUsage("--contributions adds to JSON or to a table; add --json, or --output TABLE")
    if arguments.output is not None:
        if arguments.top is not None or arguments.json:
            raise InvalidUsage("--output writes a table of all classes; leave out --top and --json")
        tables.check(arguments.output)
    elif arguments.top is not None and not arguments.json:
        raise InvalidUsage("--top shortens JSON; add --json")


def _explain(offline: Offline, image: Decoded, arguments: argparse.Namespace) -> None:
    """Draw where in the image a class gets its logit from."""
    chosen, version = {"label": arguments.label, "branch": arguments.branch}, offline.version
    metadata = version.model.metadata
    for option, there in (("label", metadata.labels), ("branch", [branch.name for branch in metadata.branches])):
        if chosen[option] is not None and chosen[option] not in there:
            raise InvalidUsage(f"--{option}: there is no {chosen[option]!r}; there are {', '.join(there)}")
    if isinstance(image, MultipoolError):
        return  # the classification that follows reports it
    with offline.judging(1):
        explained = version.model.run_with_maps(image[None])
    maps = answers.maps(version, explained, answers.Asked.of(version.model, **chosen))
    try:
        _write(arguments.explain, overlay.picture(maps, image, metadata.labels))
    except OSError as error:
        raise MultipoolError(f"{arguments.explain} cannot be written: {error.strerror}") from None
    print(printable(f"{arguments.explain}: where the logit of {maps['label']!r} comes from"), file=sys.stderr)


def _write(path: Path, content: bytes) -> None:
    """Write a file, and remove it if only half of it can be written; not by rename, as it may be ``/dev/stdout``."""
    with path.open("wb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            if path.is_file() and not path.is_symlink():  # as /dev/stdout is
                path.unlink()
            raise


def _tabulate(offline: Offline, files: list[Path], arguments: argparse.Namespace) -> int:
    """Write a table, image by image, continuing an interrupted run; returns how many images cannot be used."""
    files = list({identity.key(file): file for file in files}.values())  # a row for each, however often it is named
    options = journal.Options(
        arguments.features,
        arguments.contributions,
        offline.settings.min_confidence,
        identity.folders(arguments.images),
    )
    with journal.open_journal(arguments.output, offline.version, options) as noted:
        left = [file for file in files if not noted.has(file)]
        if noted.lines:
            print(_going_on(noted, files, len(files) - len(left)), file=sys.stderr)
        reading: deque[tuple[Path, str]] = deque()

        def stamped() -> Iterator[Path]:
            for file in left:
                reading.append((file, identity.stamp(file)))
                yield file

        failed = 0
        results = offline.classify(stamped(), top=None, features=arguments.features)
        for _, result in tqdm(results, total=len(files), initial=len(files) - len(left), unit="images", disable=None):
            noted.write(*reading.popleft(), result)
            failed += isinstance(result, MultipoolError)
        tables.finish(noted, files)
    why = "; the column 'error' says why" if failed else ""
    print(printable(f"{arguments.output}: {_count(files, failed)}{why}"), file=sys.stderr)
    return failed


def _count(files: list[Path], failed: int) -> str:
    unused = f", {failed:,} of which cannot be used" if failed else ""
    return f"{len(files):,} image{'' if len(files) == 1 else 's'}{unused}"


def _going_on(noted: Journal, files: list[Path], done: int) -> str:
    """Say which lines of an earlier run are used, and which images are tried again or left out."""
    known = sum(noted.knows(file) for file in files)
    again = f"; {known - done:,} that could not be used, or have changed, are tried again" if known > done else ""
    gone = len(noted.lines) - known
    left_out = f"; {gone:,} that no longer exist, or were not named this time, are left out" if gone else ""
    return f"continuing after {done:,} finished images{again}{left_out}"


def _print_json(version: Version, results: list[Result], *, alone: bool) -> int:
    """Print what ``POST /predict`` or, for several, ``/predict/batch`` answers; returns how many failed."""

    def body(result: Prediction | MultipoolError) -> dict[str, Any]:
        if not isinstance(result, MultipoolError):
            return result
        return problems.body(problems.kind_of(result), str(result), "")  # no request, so no request id

    document: dict[str, Any] = {"model": version.name, "version": version.number}
    if alone and len(results) == 1:
        document = body(results[0][1])
    else:
        document["results"] = [
            {"filename": name, **({"error": body(result)} if isinstance(result, MultipoolError) else result)}
            for name, result in results
        ]
    print(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2).decode())
    return sum(isinstance(result, MultipoolError) for _, result in results)


def _print_lines(results: Iterator[Result], width: int, lowest: float) -> int:
    """Print a line for each image as soon as it is classified; returns how many failed."""
    failed = 0
    for name, result in results:
        if isinstance(result, MultipoolError):
            print(printable(f"error: {name}: {result}"), file=sys.stderr)
            failed += 1
            continue
        known = f"  familiarity {_figure(result['familiarity']['joint'], lowest)}" if "familiarity" in result else ""
        label = printable(result["label"] or "(uncertain)")
        print(f"{printable(name):<{width}}  {label}  {result['probability']:.4f}{known}")
    return failed


def _lowest(version: Version) -> float:
    """Find the lowest familiarity that a model can give."""
    statistics = version.model.metadata.statistics
    return statistics.levels[-1] if statistics is not None else 0


def _figure(familiarity: np.float32, lowest: float) -> str:
    """Format a familiarity; the lowest one that a model can give is only an upper bound."""
    return f"≤ {lowest:.2g}" if familiarity <= np.float32(lowest) else f"{familiarity:.2f}"
