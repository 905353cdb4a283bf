"""Is the process alive, and can it answer?"""

from fastapi import APIRouter

from app import problems
from app.errors import Draining, NotReady
from app.routes.dependencies import AnyService, ReadyService
from app.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/livez", responses=problems.documented(500))
async def live(_: AnyService) -> Health:
    """Answer as long as the process runs."""
    return Health(status="live")


@router.get("/readyz", responses=problems.documented(500, 503))
async def ready(service: ReadyService) -> Health:
    """Answer 200 once every model is loaded and warmed up.

    Before, while shutting down, and when every model was unloaded, answer 503 with the reason.
    """
    if service.draining:
        raise Draining("the service is shutting down")
    if not any(service.repository.served):
        raise NotReady(service.repository.served.why_none_answers())
    return Health(status="ready")
