"""What routes depend on: the service, and a model that is loaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from app.errors import NotReady
from app.registry.versions import Version
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


async def acquire(request: Request, service: Service, reference: str | None) -> Version:
    """Look up a model to run, load it if it is not in memory, and have the log name it.

    Raises:
        ModelNotFound, NotReady: As :meth:`app.repository.Repository.acquire`.
    """
    version = await service.repository.acquire(reference)
    request.scope["state"]["model"] = f"{version.name}:{version.number}"
    return version


AnyService = Annotated[Service, Depends(_any)]
"""The service, loaded or not."""

ReadyService = Annotated[Service, Depends(ready)]
"""The service once every model is loaded; until then the request is answered with 503."""
