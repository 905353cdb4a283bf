"""Puts the service together: the only place that knows both the settings and the application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import FastAPI

from app import cores, problems
from app.classification import Classifier
from app.errors import MultipoolError
from app.middleware import ApiKey, RequestContext
from app.repository import Repository
from app.routes import health, models, predictions
from app.service import Service
from app.settings import Settings

log = logging.getLogger(__name__)

DESCRIPTION = """Classifies images with multi-pool networks: one convolutional trunk, four pooled branches, one dense
softmax head. Every answer carries the class probabilities and the pooled features of each branch."""


class Application(FastAPI):
    """FastAPI without the 422 that it documents for every path parameter, which these routes never give."""

    def openapi(self) -> dict[str, Any]:
        """Describe the interface in OpenAPI 3.1."""
        document = super().openapi()
        for path in document["paths"].values():
            for operation in path.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document


class State(TypedDict):
    """What lives as long as the application."""

    service: Service


def create_app(settings: Settings | None = None, on_failure: Callable[[MultipoolError], None] | None = None) -> FastAPI:
    """Build the application.

    Args:
        settings: What the operator chose; None reads the environment.
        on_failure: Called when the models cannot be loaded; without it the service stays alive but not ready,
            and ``/readyz`` gives the reason.

    Raises:
        InvalidSettings: A setting is unknown or not allowed.
    """
    settings = settings or Settings.load()
    keys = settings.keys()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        service = build(settings)
        count = cores.available()
        log.info("%d cores: %d threads per model run, %d for decoding", count, count, count)
        loading = asyncio.create_task(_load(service.repository, on_failure))
        if settings.workers > 1:
            await loading  # a worker takes no connection before it can answer: another one can
        yield {"service": service}
        if service.repository.ready:
            log.info("stopped")
        service.repository.stop()
        loading.cancel()
        service.classifier.close()

    app = Application(
        title="Multipool", version="1.0.0", description=DESCRIPTION, lifespan=lifespan, redirect_slashes=False
    )
    for router in (predictions.router, models.router, health.router):
        app.include_router(router)
    problems.handle(app)
    if keys:
        app.add_middleware(ApiKey, keys=keys)
    app.add_middleware(RequestContext)
    return app


def build(settings: Settings) -> Service:
    """Make the parts of the service; nothing is loaded yet."""
    count = cores.available()
    repository = Repository(
        settings.models_dir,
        default=settings.default_model,
        device=settings.device,
        threads=count,
        max_batch_size=settings.max_batch_size,
    )
    classifier = Classifier(
        cores=count,
        queue_size=settings.queue_size,
        timeout_s=settings.request_timeout_s,
        max_pixels=settings.max_pixels,
        max_batch_size=settings.max_batch_size,
        max_batch_delay_s=settings.max_batch_delay_ms / 1000,
    )
    return Service(settings, repository, classifier)


async def _load(repository: Repository, on_failure: Callable[[MultipoolError], None] | None) -> None:
    """Load the models beside the event loop, so that the process answers health checks meanwhile."""
    try:
        await asyncio.to_thread(repository.load)
    except Exception as error:
        if not isinstance(error, MultipoolError):
            log.exception("loading failed")
            error = MultipoolError("the models could not be loaded, for a reason that the log says")
        if on_failure is None:
            log.error("not ready: %s", error)  # noqa: TRY400  # a line for the operator, not a traceback
        else:
            on_failure(error)
    if repository.ready:
        log.info("ready: %d models, default %s", len(list(repository)), repository.default)
