"""What the routes reach: the settings, the models and the classifier, alive between start and stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from fastapi import Depends, Request

from app.admission import Admission
from app.classification import Classifier
from app.errors import InvalidArtifact, ModelNotFound, MultipoolError, NothingToServe, NotReady
from app.metrics import Metrics
from app.registry.versions import Version
from app.repository import Repository
from app.settings import Settings
from app.watching import Watcher

log = logging.getLogger(__name__)


class Order(NamedTuple):
    """What an operator wants of a model."""

    action: Literal["withdraw", "restore"]
    model: str


@dataclass
class Service:
    """The state of one process."""

    settings: Settings
    repository: Repository
    admission: Admission
    classifier: Classifier
    watcher: Watcher
    metrics: Metrics = field(default_factory=Metrics)
    draining: threading.Event = field(default_factory=threading.Event)
    """Set once the process has been told to stop."""
    tell_others: Callable[[Order], None] = lambda _: None
    """Passes an operator's order on to the other workers."""

    def is_ready(self) -> bool:
        """Tell what ``/readyz`` does."""
        return self.repository.ready and any(self.repository.served) and not self.draining.is_set()

    def restore(self, name: str) -> None:
        """Load what lies in the folder of a model, and serve it again if it was withdrawn; blocks.

        Raises:
            ModelNotFound: There is no such folder, or none with a model in it.
            InvalidArtifact: Its highest version is refused; the one before, if any, is served all the same.
        """
        try:
            self.watcher.look(name)
        except NothingToServe as error:
            raise ModelNotFound(str(error)) from None
        versions = [entry for entry in self.repository.entries() if entry.name == name]
        if not versions:
            raise ModelNotFound(f"there is no model {name[:80]!r} in the model repository, or none that can be read")
        self.repository.restore(name)
        highest = versions[-1]
        if highest.refused:
            served = self.repository.served
            rest = f"version {served.find(name).number} is" if name in served else "no version of it is"
            raise InvalidArtifact(f"{highest.found.reference} is refused: {highest.refused}; {rest} served")

    def obey(self, order: Order) -> None:
        """Do what an operator told another worker; blocks."""
        try:
            if order.action == "withdraw":
                self.repository.withdraw(order.model)
            else:
                self.restore(order.model)
        except MultipoolError as error:
            log.error("%s %s: %s", order.action, order.model, error)  # noqa: TRY400  # a line for the operator


# Coroutines, because FastAPI calls plain functions in a thread.
async def _any(request: Request) -> Service:
    service: Service = request.scope["state"]["service"]
    return service


def ready(request: Request) -> Service:
    """Return the service once every model is loaded.

    Raises:
        NotReady: Some are not.
    """
    service: Service = request.scope["state"]["service"]
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


async def _ready(request: Request) -> Service:
    return ready(request)


AnyService = Annotated[Service, Depends(_any)]
"""The service, loaded or not."""

ReadyService = Annotated[Service, Depends(_ready)]
"""The service once every model is loaded; until then the request is answered with 503."""
