"""Where in the image a class gets its logit from."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from app import answers
from app.http import failures, fields
from app.http.negotiation import JSON, NPY, PNG, choose
from app.http.query import Name, Query
from app.http.timing import server_timing, stages
from app.http.uploads import parse_one, read_body
from app.routes.dependencies import ReadyService, acquire, look_up
from app.schemas import BINARY, IMAGE_BODY, Maps

router = APIRouter(tags=["predictions"])

_ACCEPTED = (NPY, JSON, PNG)  # the last wins where the caller has no preference


class Parameters(Query):
    """Query parameters of an explanation."""

    model: Name | None = Field(None, description="`name` or `name:version`; the default model when absent.")
    label: str | None = Field(None, description="The class to explain; the most probable one when absent.")
    branch: str | None = Field(None, description="The branch to look at; all of them when absent.")


@router.post(
    "/explain",
    responses={
        200: {
            "description": "The maps, as a picture or as numbers, by `Accept`.",
            "content": {
                PNG: {"schema": BINARY},
                JSON: {"schema": {"$ref": "#/components/schemas/Maps"}},
                NPY: {"schema": BINARY},
            },
            "model": Maps,
        },
        **failures.documented(400, 401, 404, 406, 413, 415, 422, 500, 503, 504),
    },
    response_class=Response,
    openapi_extra={"parameters": Parameters.described(), **IMAGE_BODY},
)
async def explain(request: Request, service: ReadyService) -> Response:
    """Show where in the image each branch's contribution to a class's logit comes from.

    The values of a map sum to the branch's contribution; bias and contributions sum to the logit. Answers `image/png`
    (the image as the model saw it, and the map beside it), `application/json`, or `application/x-npy`, an array
    `float32 [branches, h, w]`.
    """
    start = time.monotonic()
    parameters = Parameters.parse(request.scope["query_string"])
    media_type = choose(fields.joined(request.scope, b"accept"), _ACCEPTED)
    chosen = {"label": parameters.label, "branch": parameters.branch}
    async with service.admission.request() as admitted:
        answers.Asked.of(look_up(request, service, parameters.model), **chosen)  # before there is any work
        body = await read_body(request, service.settings.max_upload_bytes, admitted.hold)
        read_s = time.monotonic() - start
        upload = parse_one(body, fields.first(request.scope, b"content-type"), Parameters.model_fields)
        admitted.take(1)  # before any model has to make room for this one
        version = await acquire(request, service, parameters.model)
        asked = answers.Asked.of(version.model, **chosen)  # it may have been replaced since
        image, answer = await service.classifier.explain(version.model, upload)
        maps = answers.maps(version, answer.result, asked)
        content = await asyncio.to_thread(_write, media_type, maps, image, version.model.metadata.labels)
    spent = stages([answer], read_s, start)
    service.metrics.count_prediction(version.name, version.number, images=1, batches=1, labels=(), stages=spent)
    headers = {"Server-Timing": server_timing(spent), "Vary": "Accept"}
    return Response(content, headers=headers, media_type=media_type)


def _write(
    media_type: str, maps: dict[str, Any], image: np.ndarray[Any, np.dtype[np.uint8]], labels: tuple[str, ...]
) -> bytes:
    if media_type == JSON:
        return orjson.dumps(maps, option=orjson.OPT_SERIALIZE_NUMPY)
    if media_type == NPY:
        buffer = io.BytesIO()
        np.save(buffer, maps["maps"])
        return buffer.getvalue()
    from app import overlay  # noqa: PLC0415  # fonts and the like, which nothing else needs

    return overlay.picture(maps, image, labels)
