"""What the service says of its models: which are served, in memory or refused, and why, and which drift."""

from __future__ import annotations

from typing import Any

from app.registry.references import References
from app.registry.versions import Entry
from app.repository import Repository


def listing(repository: Repository) -> dict[str, Any]:
    """Fill a :class:`app.model_schemas.Models`."""
    refused = [
        {"name": entry.name, "version": entry.number, "reason": entry.refused}
        for entry in repository.entries()
        if entry.refused
    ]
    served = repository.served  # replaced as a whole whenever it changes
    models = [summary(entry, served) for entry in served]
    default_version = served.resolve(None).number if served.answering else None
    return {"default": served.default, "default_version": default_version, "models": models, "refused": refused}


def summary(entry: Entry, served: References) -> dict[str, Any]:
    """Fill a :class:`app.model_schemas.ModelSummary`."""
    card = entry.known()
    return {
        "name": entry.name,
        "version": entry.number,
        "versions": served.versions(entry.name),
        "labels": list(card.metadata.labels),
        "branches": [branch.model_dump() for branch in card.metadata.branches],
        "input": card.shape._asdict(),
        "ready": not entry.is_lost,  # until all have been loaded once, none is listed
        "loaded": entry.version is not None,
        "execution_provider": card.execution_provider,
        "sha256": card.sha256,
    }


def detail(entry: Entry, served: References) -> dict[str, Any]:
    """Fill a :class:`app.model_schemas.ModelDetail`: the summary, and everything in the metadata document."""
    return {**entry.known().metadata.described(), **summary(entry, served)}


def index(repository: Repository) -> list[dict[str, str]]:
    """List every version as the model repository extension of the Open Inference Protocol does."""
    return [
        {"name": entry.name, "version": str(entry.number), **_state(entry, repository)}
        for entry in repository.entries()
    ]


def _state(entry: Entry, repository: Repository) -> dict[str, str]:
    state = "READY" if repository.answers(entry) else "UNAVAILABLE"
    return {"state": state, "reason": "unloaded" if repository.is_unloaded(entry.name) else entry.refused or ""}


def drift(repository: Repository) -> dict[tuple[str, ...], list[float]]:
    """Describe the latest images of every version that is served, in memory or not; see :mod:`app.drift`.

    Returns:
        By name, version and branch: drift, the number of images held out, and the share that is repeated, each times
        the number of images, and that number: so that those of several workers can be added up.
    """
    return {
        (entry.name, str(entry.number), branch): [
            latest.images * each for each in (drift, latest.held_out, latest.repeated, 1.0)
        ]
        for entry in repository.entries()
        if entry.drift is not None and repository.answers(entry)
        if (latest := entry.drift.summary()) is not None
        for branch, drift in latest.drift.items()
    }
