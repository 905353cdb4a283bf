"""What the service counts, for Prometheus."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.http import failures, fields
from app.routes.dependencies import AnyService

router = APIRouter(tags=["health"])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus text, or OpenMetrics by `Accept`.",
        "content": {"text/plain": {}, "application/openmetrics-text": {}},
    },
    **failures.documented(401, 500),
}


@router.get("/metrics", response_class=Response, responses=_RESPONSES)
async def metrics(request: Request, service: AnyService) -> Response:
    """Show the metrics, summed over all workers."""
    from app import exposition  # noqa: PLC0415  # whoever does not scrape does not pay for the import at the start

    content, media_type = exposition.write(service, fields.joined(request.scope, b"accept"))
    return Response(content, headers={"Content-Type": media_type})
