"""Classify one image, or several."""

from __future__ import annotations

import time
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app import answers, problems
from app.classification import Classified
from app.errors import InvalidRequest
from app.images import MEDIA_TYPES
from app.schemas import BatchPrediction, Prediction
from app.service import ReadyService
from app.uploads import PART, Upload, parse_many, parse_one, read_body

router = APIRouter(tags=["predictions"])

_BINARY = {"type": "string", "format": "binary"}
_ERRORS = problems.documented(400, 401, 404, 413, 415, 422, 500, 503, 504)


class Parameters(BaseModel):
    """Query parameters of a prediction."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="`name` or `name:version`; the default model when absent.")
    top: int | None = Field(None, ge=1, description="Only the k most probable classes.")
    features: bool = Field(True, description="Whether to return the pooled features of every branch.")
    explain: bool = Field(False, description="Whether to return each branch's contribution to every logit.")

    def contents(self) -> dict[str, Any]:
        """What the answer for each image is to contain."""
        return {"top": self.top, "features": self.features, "explain": self.explain}


@router.post(
    "/predict",
    response_model=Prediction,
    responses=_ERRORS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "required": [PART], "properties": {PART: _BINARY}}
                },
                **{media_type: {"schema": _BINARY} for media_type in (*MEDIA_TYPES, "application/octet-stream")},
            },
        }
    },
)
async def predict(request: Request, service: ReadyService, parameters: Annotated[Parameters, Query()]) -> Response:
    """Classify one image, sent as a form with one part named `file` or as the raw body."""
    start = time.monotonic()
    version = service.repository.resolve(parameters.model)
    async with service.classifier.admitted():
        body = await read_body(request, service.settings.max_upload_bytes)
        read_s = time.monotonic() - start
        upload = parse_one(body, request.headers.get("content-type"))
        (classified,) = await service.classifier.classify(version, [upload])
    if isinstance(classified.answer, InvalidRequest):
        raise classified.answer
    answer = answers.prediction(version, classified.answer, **parameters.contents())
    return _respond(answer, read_s, [classified], start)


@router.post(
    "/predict/batch",
    response_model=BatchPrediction,
    responses=_ERRORS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": [PART],
                        "properties": {PART: {"type": "array", "items": _BINARY, "minItems": 1}},
                    }
                }
            },
        }
    },
)
async def predict_batch(
    request: Request, service: ReadyService, parameters: Annotated[Parameters, Query()]
) -> Response:
    """Classify the images of several parts named `file`; one that cannot be used fails alone."""
    start = time.monotonic()
    version = service.repository.resolve(parameters.model)
    async with service.classifier.admitted():
        body = await read_body(request, service.settings.max_upload_bytes)
        read_s = time.monotonic() - start
        uploads = parse_many(body, request.headers.get("content-type"), service.settings.max_files)
        classified = await service.classifier.classify(version, uploads)

    def result(upload: Upload, one: Classified) -> dict[str, Any]:
        if isinstance(one.answer, InvalidRequest):
            problem = problems.body(problems.kind_of(one.answer), str(one.answer), request.scope)
            return {"filename": upload.filename, "error": problem}
        prediction = answers.prediction(version, one.answer, **parameters.contents())
        return {"filename": upload.filename, **prediction}

    results = [result(upload, one) for upload, one in zip(uploads, classified, strict=True)]
    answer = {"model": version.name, "version": version.number, "results": results}
    return _respond(answer, read_s, classified, start)


def _respond(answer: dict[str, Any], read_s: float, classified: list[Classified], start: float) -> Response:
    """Write the answer, with the longest time any of its images spent in each stage."""
    stages = {"read": read_s}
    for one in classified:
        for stage, seconds in one.stages.items():
            stages[stage] = max(seconds, stages.get(stage, 0))
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    stages["total"] = time.monotonic() - start
    timing = ", ".join(f"{stage};dur={1000 * seconds:.2f}" for stage, seconds in stages.items())
    return Response(content, headers={"Server-Timing": timing}, media_type="application/json")
