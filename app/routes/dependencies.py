"""What routes depend on: the service, and a model that is known or loaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from app.errors import NotReady
from app.registry.versions import Card, Version
from app.service import Service


# Coroutines, because FastAPI calls plain functions in a thread.
async def _any(request: Request) -> Service:
    service: Service = request.scope["state"]["service"]
    return service


async def ready(request: Request) -> Service:
    """Return the service once every model is loaded.

    Raises:
        NotReady: Some are not.
    """
    service = await _any(request)
    if not service.repository.ready:
        raise NotReady(service.repository.reason)
    return service


def look_up(request: Request, service: Service, reference: str | None) -> Card:
    """Look up a model that is to be run once the request is complete, and have the log name it; it need not be loaded.

    Raises:
        ModelNotFound, NotReady: As :meth:`app.registry.references.References.resolve`.
    """
    entry = service.repository.served.resolve(reference)
    request.scope["state"]["model"] = entry.reference
    return entry.known()


async def acquire(request: Request, service: Service, reference: str | None) -> Version:
    """Look up a model to run, load it if it is not in memory, and have the log name it.

    Called once the request is complete: who sends slowly is to hold no model in memory.

    Raises:
        ModelNotFound, NotReady: As :meth:`app.repository.Repository.acquire`.
    """
    version = await service.repository.acquire(reference)
    request.scope["state"]["model"] = version.reference
    return version


AnyService = Annotated[Service, Depends(_any)]
"""The service, loaded or not."""

ReadyService = Annotated[Service, Depends(ready)]
"""The service once every model is loaded; until then the request is answered with 503."""
