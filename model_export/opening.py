"""Finds a published model where the command line names it, and loads it as the service does."""

from __future__ import annotations

import re
from pathlib import Path

from app.errors import InvalidArtifact
from app.model import Model
from model_export.errors import MissingInput

REPOSITORY = Path("models")
"""Where a model that is named without a folder is looked for."""


def open_model(given: Path) -> tuple[Path, Model]:
    """Find an artifact, load it as the service does, and run it.

    Raises:
        MissingInput: There is none.
        InvalidArtifact: The service would refuse it.
    """
    path = find(given)
    try:
        model = Model.load(path.read_bytes(), device="cpu")
        model.warm_up((1, 2))
    except InvalidArtifact as error:
        raise InvalidArtifact(f"{path} is not a sound artifact: {error}") from None
    return path, model


def find(given: Path) -> Path:
    """Find the file: given itself, its version's folder, its model's folder, or ``name`` or ``name:version``.

    A folder of a model stands for its highest version. What lies at the path given goes before the repository.

    Raises:
        MissingInput: There is no such file; says where it was looked for.
    """
    places = [given, *_in_repository(str(given))]
    for place in places:
        if file := _file(place):
            return file
    looked = " and ".join(map(str, places))
    raise MissingInput(
        f"there is no model {str(given)!r}: looked for {looked} (a model.onnx, or the folder of a version or of a "
        f"model); {REPOSITORY} holds {', '.join(_names()) or 'none'}"
    )


def _file(place: Path) -> Path | None:
    versions = {int(path.parent.name): path for path in place.glob("*/model.onnx") if path.parent.name.isdecimal()}
    candidates = (place, place / "model.onnx", *(versions[number] for number in sorted(versions)[-1:]))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _in_repository(given: str) -> list[Path]:
    named = re.fullmatch(r"([a-z0-9][a-z0-9_-]*)(?::([1-9]\d{0,8}))?", given, re.ASCII)
    return [] if named is None else [REPOSITORY / named[1] / (named[2] or "")]


def _names() -> list[str]:
    return sorted({path.parent.parent.name for path in REPOSITORY.glob("[!.]*/[0-9]*/model.onnx")})
