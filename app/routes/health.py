"""Is the process alive, and can it answer?"""

from fastapi import APIRouter

from app.http import failures
from app.routes.dependencies import AnyService
from app.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/livez", responses=failures.documented(500))
async def live(_: AnyService) -> Health:
    """Answer as long as the process runs."""
    return Health(status="live")


@router.get("/readyz", responses=failures.documented(500, 503))
async def ready(service: AnyService) -> Health:
    """Answer 200 once every model is loaded and warmed up.

    Before, while shutting down, and when every model was unloaded, answer 503 with the reason.
    """
    if (error := service.why_not_ready()) is not None:
        raise error
    return Health(status="ready")
