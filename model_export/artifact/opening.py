"""Published files: found as the command line names them, and loaded as the service does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.errors import InvalidArtifact, MissingInput, ModelNotFound, NothingToServe
from app.model import Model
from app.registry.artifacts import Found, discover, select
from app.registry.layout import FILE
from model_export import choices


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
        raise InvalidArtifact(f"{path} is not a valid artifact: {error}") from None
    return path, model


def find(given: Path) -> Path:
    """Find the file: given itself, its version's folder, its model's folder, or a name in the model repository.

    The name of a model means its highest version. An existing path takes precedence over the repository.

    Raises:
        MissingInput: There is no such file; the message says where it was searched for.
    """
    if file := _file(given):
        return file
    repository = choices.repository()
    name, slash, version = str(given).rpartition("/")
    reference = f"{name}:{version}" if slash and version.isdecimal() else str(given)
    try:
        return select([found for found in listed(repository) if found.path.is_file()], reference).path
    except ModelNotFound as error:
        raise MissingInput(
            f"{str(given)!r} is not the path of a {FILE} or of its folder, and in {str(repository)!r} {error}"
        ) from None


def names(first: Path, second: Path) -> tuple[str, str]:
    """Name two files as requests do, ``name:version``; by their paths if they have no such name, or share one."""
    called = _called(first), _called(second)
    return called if called[0] != called[1] else (str(first), str(second))


def _called(path: Path) -> str:
    version = Path(os.path.abspath(path)).parent  # links keep their names
    return f"{version.parent.name}:{version.name}" if version.name.isdecimal() else str(path)


def listed(repository: Path) -> list[Found]:
    """List every artifact of a repository, by name and version; empty if it has none or cannot be read."""
    with suppress(NothingToServe):
        return discover(repository)
    return []


def undamaged(repository: Path, name: str) -> Iterator[tuple[Found, Model]]:
    """Load the versions of a model, the highest first, without those that are damaged."""
    for found in reversed(listed(repository)):
        if found.name == name and (model := _read(found.path)) is not None:
            yield found, model


def _read(path: Path) -> Model | None:
    with suppress(OSError, InvalidArtifact):
        return Model.load(path.read_bytes(), device="cpu")
    return None


def _file(place: Path) -> Path | None:
    versions = {int(path.parent.name): path for path in place.glob(f"*/{FILE}") if path.parent.name.isdecimal()}
    candidates = (place, place / FILE, *(versions[number] for number in sorted(versions)[-1:]))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
