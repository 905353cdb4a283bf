"""What the routes reach: the settings, the models and the classifier, alive between start and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.classification import Classifier
from app.errors import NotReady
from app.repository import Repository
from app.settings import Settings


@dataclass(frozen=True)
class Service:
    """The state of one process."""

    settings: Settings
    repository: Repository
    classifier: Classifier


def _any(request: Request) -> Service:
    service: Service = request.state.service
    return service


def _ready(request: Request) -> Service:
    service = _any(request)
    if not service.repository.ready:
        raise NotReady(service.repository.reason)
    return service


AnyService = Annotated[Service, Depends(_any)]
"""The service, loaded or not."""

ReadyService = Annotated[Service, Depends(_ready)]
"""The service once every model is loaded; until then the request is answered with 503."""
