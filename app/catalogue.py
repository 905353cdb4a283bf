"""What is told of the models: which are served, which are in memory, which were refused and why, what drifts."""

from __future__ import annotations

from typing import Any

from app.repository import Repository
from app.versions import Entry


def listing(repository: Repository) -> dict[str, Any]:
    """Fill a :class:`app.schemas.Models`."""
    refused = [
        {"name": entry.name, "version": entry.number, "reason": entry.refused}
        for entry in repository.entries()
        if entry.refused
    ]
    models = [summary(entry, repository) for entry in repository.served]
    served = repository.served
    default_version = served.resolve(None).number if served.answers_by_default() else None
    return {"default": served.default, "default_version": default_version, "models": models, "refused": refused}


def summary(entry: Entry, repository: Repository) -> dict[str, Any]:
    """Fill a :class:`app.schemas.ModelSummary`."""
    card = entry.known()
    return {
        "name": entry.name,
        "version": entry.number,
        "versions": repository.served.versions(entry.name),
        "labels": list(card.metadata.labels),
        "branches": [branch.model_dump() for branch in card.metadata.branches],
        "input": card.shape._asdict(),
        "ready": repository.ready,
        "loaded": entry.version is not None,
        "execution_provider": card.execution_provider,
        "sha256": card.sha256,
    }


def detail(entry: Entry, repository: Repository) -> dict[str, Any]:
    """Fill a :class:`app.schemas.ModelDetail`: the summary, and everything in the metadata document."""
    return {**entry.known().metadata.described(), **summary(entry, repository)}


def index(repository: Repository) -> list[dict[str, str]]:
    """List every version as the model repository extension of the Open Inference Protocol does."""
    return [
        {"name": entry.name, "version": str(entry.number), "state": state, "reason": reason}
        for entry in repository.entries()
        for state, reason in [_state(entry, repository)]
    ]


def _state(entry: Entry, repository: Repository) -> tuple[str, str]:
    if repository.withdrawn(entry.name):
        return "UNAVAILABLE", "unloaded"
    if entry.card is None:
        return "UNAVAILABLE", entry.refused or ""
    return "READY", entry.refused or ""


def drift(repository: Repository) -> dict[tuple[str, ...], list[float]]:
    """Tell how far the latest images of what is in memory are from its training set; see :mod:`app.drift`.

    Returns:
        By name, version and branch: the distance times the number of images, and that number.
    """
    watched = [(one, one.version.model.drift) for one in repository.entries() if one.version is not None]
    return {
        (one.name, str(one.number), branch): [distance * found.images, float(found.images)]
        for one, found in watched
        if found is not None
        for branch, distance in found.distances().items()
    }
