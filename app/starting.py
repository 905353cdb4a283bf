"""From a folder of models to a service that is ready: what must be there, and in which order it is loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from app import devices
from app.errors import InvalidArtifact, InvalidSettings, ModelNotFound, MultipoolError, NothingToServe
from app.registry.artifacts import Found, discover, select
from app.registry.references import References
from app.repository import Repository

log = logging.getLogger(__name__)


def check(root: Path, default: str | None, device: Literal["auto", "cuda", "cpu"]) -> list[Found]:
    """Check what can be checked without loading anything: that there are models, the default model, and the device.

    Args:
        root: Folder of the model repository.
        default: Model, or ``name:version``, that answers when none is named; None is the first by name.
        device: What the models are to run on.

    Returns:
        The artifacts in the folder.

    Raises:
        NothingToServe: There is no model.
        InvalidSettings: The default model does not exist.
        DeviceUnavailable: The device asked for cannot be used.
    """
    found = discover(root)
    try:
        if default is not None:
            select(found, default)
    except ModelNotFound as error:
        raise InvalidSettings(f"MULTIPOOL_DEFAULT_MODEL: {error}") from None
    if device == "cuda":
        devices.require_cuda()
    return found


def load(repository: Repository, trusted: frozenset[str] | None = None) -> None:
    """Load and warm up every version, and make the repository ready; blocks.

    Args:
        repository: Its ``reason`` tells how far it is, or what went wrong.
        trusted: None at the first start, which fails unless the default and a version of every model can be served (or
            ``require_all`` is off). Otherwise the digests other processes have loaded: then a bad version does not stop
            the rest, and unknown content is first tried in its own process.

    Raises:
        NothingToServe: There is no model, or none that can be served.
        InvalidArtifact: Of some model no version can be served; names a file and says why.
        InvalidSettings: The default model does not exist.
        DeviceUnavailable: The device asked for cannot be used.
    """
    try:
        _load(repository, trusted)
    except MultipoolError as error:
        repository.reason = str(error)
        raise
    except Exception:
        repository.reason = "the models could not be loaded; the service's log says why"
        raise
    repository.ready = not repository.stopped


def _load(repository: Repository, trusted: frozenset[str] | None) -> None:
    root = repository.folder.root
    insists = trusted is None and repository.require_all
    found = check(root, repository.default, repository.loader.device) if trusted is None else repository.folder.look()
    repository.folder.warn()
    highest = {one.name: one.number for one in found}
    # Highest versions last, so that they are the ones that stay when not all fit.
    order = sorted(found, key=lambda one: (highest[one.name] == one.number, one.number))
    for done, one in enumerate(order):
        if repository.stopped:
            return
        repository.reason = f"the models are being loaded: {done} of {len(found)} ready"
        repository.admit(one, None if insists else trusted or frozenset())
    if insists:
        _insist(repository, found)
    elif not any(repository.served):
        raise NothingToServe(
            f"the model repository {str(root)!r} holds nothing that can be served; "
            "publish a model, or correct what the log names"
        )


def _insist(repository: Repository, found: list[Found]) -> None:
    """Raise an error unless a version of every model is served, and the default."""
    needed = {one.name: one for one in found}  # of each model the highest version
    if repository.default is not None:
        needed[repository.default] = select(found, repository.default)
    for reference, one in needed.items():
        if repository.served.get(reference) is None and (entry := repository.entry(one)) is not None:
            rest = ", or set MULTIPOOL_REQUIRE_ALL_MODELS=false to serve the rest" if any(repository.served) else ""
            raise InvalidArtifact(f"{one.path} cannot be served: {entry.refused}; remove it{rest}")


async def run(
    repository: Repository, trusted: frozenset[str] | None, on_failure: Callable[[MultipoolError], None] | None
) -> None:
    """Load everything in a thread, so that the process answers health checks meanwhile; logs what it comes to.

    Args:
        repository: See :func:`load`.
        trusted: The same.
        on_failure: Called if it fails; without it, the process stays alive but is not ready.
    """
    try:
        await asyncio.to_thread(load, repository, trusted)
    except Exception as error:
        if not isinstance(error, MultipoolError):
            log.exception("loading failed")
            error = MultipoolError(repository.reason)
        if on_failure is None:
            log.error("not ready: %s", error)  # noqa: TRY400  # a line for the operator, not a traceback
        else:
            on_failure(error)
    if repository.ready:
        _say_ready(repository.served)


def _say_ready(served: References) -> None:
    """Log what is served, and that memory has not room for all of it."""
    count, loaded = len(list(served)), sum(entry.version is not None for entry in served)
    rest = ""
    if loaded < count:
        rest = f"; MULTIPOOL_MODELS_MEMORY_BYTES has room for {loaded}, the others are loaded when asked for"
    default = served.reference if served.answering else "none"
    log.info("ready: %d model%s, default %s%s", count, "" if count == 1 else "s", default, rest)
    if not served.answering:
        log.warning(served.why_none_answers())
