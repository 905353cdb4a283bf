"""Which models are served, and what they say about themselves."""

from typing import Any

from fastapi import APIRouter

from app import catalogue
from app.http import failures
from app.model_schemas import ModelDetail, Models
from app.routes.dependencies import ReadyService

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", response_model=Models, responses=failures.documented(401, 500, 503))
async def list_models(service: ReadyService) -> dict[str, Any]:
    """List every model with its highest version, and the versions that are not served, with the reason."""
    return catalogue.listing(service.repository)


@router.get("/{name}", response_model=ModelDetail, responses=failures.documented(401, 404, 500, 503))
async def show_model(service: ReadyService, name: str) -> dict[str, Any]:
    """Show the highest version of a model, with all that its artifact says about itself."""
    served = service.repository.served
    return catalogue.detail(served.find(name), served)


@router.get("/{name}/{version}", response_model=ModelDetail, responses=failures.documented(401, 404, 500, 503))
async def show_version(service: ReadyService, name: str, version: str) -> dict[str, Any]:
    """Show one version of a model, with all that its artifact says about itself."""
    served = service.repository.served
    return catalogue.detail(served.resolve(f"{name}:{version}"), served)
