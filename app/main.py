"""Puts the service together: the only place that knows both the settings and the application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from app import __version__, catalogue, cores, devices, memory, starting, usage
from app.admission import Admission
from app.apikeys import Keys
from app.classification import Classifier
from app.errors import MultipoolError
from app.http import failures, tracing
from app.http.application import Application
from app.http.context import RequestContext
from app.http.cors import Cors
from app.http.keys import ApiKey
from app.http.ratelimit import RateLimit
from app.metrics import Metrics
from app.model import GPU_LANES
from app.orders import Orders
from app.registry.loading import Loader
from app.repository import Repository
from app.routes import explain, health, models, page, predictions, repository
from app.routes import metrics as scrapes
from app.routes.direct import Direct
from app.server.idle import Idle
from app.server.limits import Limits
from app.server.refusals import Refusals
from app.service import Service
from app.settings import Settings
from app.watching import Watcher

log = logging.getLogger(__name__)

DESCRIPTION = """Classifies images with multi-pool networks: one convolutional trunk, four pooled branches, one dense
softmax head. Every answer carries the class probabilities and the pooled features of each branch."""


class State(TypedDict):
    """What lives as long as the application."""

    service: Service
    # For app.server.protocol.Protocol, which has no other way to learn them.
    limits: Limits
    refusals: Refusals
    idle: Idle


def create_app(
    settings: Settings | None = None,
    on_failure: Callable[[MultipoolError], None] | None = None,
    trusted: frozenset[str] | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        settings: What the operator chose; None reads the environment.
        on_failure: Called when the models cannot be loaded; without it the service stays alive but not ready,
            and ``/readyz`` gives the reason.
        trusted: For :func:`app.starting.load`.

    Raises:
        InvalidSettings: A setting is unknown or not allowed.
    """
    settings = settings or Settings.load()
    keys, metrics = Keys(settings), Metrics()
    app = Application(
        title="Multipool",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lambda _: _lifespan(build(settings, metrics, keys), on_failure, trusted),
        redirect_slashes=False,
        docs_url=None,  # FastAPI's load their scripts from elsewhere; ours is in app.routes.page
        redoc_url=None,
        responses=failures.documented(400, 405, 408, 413, 414, 415, 417, 429, 431, 503),  # what any request can meet
    )
    routers = [predictions.router, explain.router, models.router, health.router, scrapes.router, page.router]
    if settings.admin_key is not None:
        routers.append(repository.router)
    routes = list(app.routes)
    for router in routers:
        app.include_router(router)
        routes += router.routes  # app.routes has each router as one
    failures.handle(app)
    app.asks_for_keys = bool(keys.users)
    app.around = [*_layers(settings, keys, routes), lambda app: RequestContext(app, metrics, routes)]
    return app


@asynccontextmanager
async def _lifespan(
    service: Service, on_failure: Callable[[MultipoolError], None] | None, trusted: frozenset[str] | None
) -> AsyncIterator[State]:
    """Load the models, and keep them up to date until the application ends; arguments as for :func:`create_app`."""
    settings, repository = service.settings, service.repository
    _say_what_starts(service)
    service.classifier.guard.on_failure = lambda error: _fail(repository, error, on_failure)
    loading = asyncio.create_task(starting.run(repository, trusted, on_failure))
    if settings.workers > 1:
        await loading  # a worker takes no connection before it can answer: another one can
    tasks = [loading]
    if settings.models_poll_s:
        tasks.append(asyncio.create_task(_watch(loading, service.watcher)))
    is_full, refusals = service.admission.is_full, Refusals(service.metrics, settings.cors_origins)
    limits = Limits(connections=settings.max_connections, body_bytes=settings.max_upload_bytes, is_full=is_full)
    yield {"service": service, "limits": limits, "refusals": refusals, "idle": Idle()}
    if repository.ready:
        log.info("stopped")
    repository.stopped = True
    for task in tasks:
        task.cancel()
    repository.loader.stop()  # the threads are waited for
    service.orders.loads.shutdown(cancel_futures=True)
    service.classifier.close()


def _say_what_starts(service: Service) -> None:
    """Log how many cores are used, and which requests are answered."""
    count, keys = _cores(service.settings), service.keys
    several = f"{count} cores: one thread per core, each for one image; a single image uses all cores"
    log.info("1 core: one thread" if count == 1 else several)
    if keys.users:
        one = "the API key" if len(keys.users) == 1 else f"one of {len(keys.users)} API keys"
        log.info("requests must carry %s%s", one, ", or the admin key" if keys.admin else "")
    else:
        log.info("no API key is needed: anyone who can reach the port gets answers")


def _layers(settings: Settings, keys: Keys, routes: Sequence[BaseRoute]) -> Iterator[Callable[[ASGIApp], ASGIApp]]:
    """Go through what is put around the application, from the inside out."""
    yield lambda app: Direct(app, predictions.DIRECT)
    if keys.users or keys.admin:
        yield lambda app: ApiKey(app, keys)
    if (per_second := settings.rate_limit) is not None:  # around the keys: those that are wrong are limited too
        yield lambda app: RateLimit(app, per_second, settings.workers, keys)
    if settings.cors_origins:
        yield lambda app: Cors(app, settings.cors_origins)
    if tracing.wanted():
        yield lambda app: tracing.layer(app, routes)


def build(settings: Settings, metrics: Metrics, keys: Keys) -> Service:
    """Make the parts of the service; nothing is loaded yet."""
    count = _cores(settings)
    memory_bytes = settings.models_memory_bytes or memory.available() // 2 // settings.workers
    loader = Loader.of(settings, count)
    models = Repository(
        settings.models_dir,
        default=settings.default_model,
        loader=loader,
        memory_bytes=memory_bytes,
        require_all=settings.require_all_models,
    )
    classifier = Classifier(
        threads=count + (GPU_LANES if settings.device != "cpu" and devices.why_no_cuda() is None else 0),
        max_pixels=settings.max_pixels,
        max_batch_size=settings.max_batch_size,
        max_batch_delay_s=settings.max_batch_delay_ms / 1000,
        cached_answers=settings.cached_answers,
    )
    quarter = max(memory.available() // 4 // settings.workers, settings.max_upload_bytes)
    upload_bytes = settings.uploads_memory_bytes or quarter
    admission = Admission(settings.queue_size, settings.request_timeout_s, upload_bytes)
    metrics.images_in_work = lambda: admission.images
    metrics.upload_bytes = lambda: admission.uploaded_bytes
    metrics.drift = lambda: catalogue.drift(models)
    if settings.workers > 1:
        metrics.usage = usage.taken
    watcher = Watcher(models, settings.models_poll_s)
    return Service(settings, models, admission, classifier, watcher, Orders(models, watcher), keys, metrics)


def _cores(settings: Settings) -> int:
    """Share of the cores that this process takes."""
    return max(1, cores.available() // settings.workers)


async def _watch(loading: asyncio.Task[None], watcher: Watcher) -> None:
    await loading
    await watcher.run()


def _fail(repository: Repository, error: MultipoolError, on_failure: Callable[[MultipoolError], None] | None) -> None:
    """Be ready no more; where there is a process to end, end it."""
    repository.ready, repository.stopped, repository.reason = False, True, str(error)
    log.error("not ready: %s", error)
    if on_failure is not None:
        on_failure(error)
