"""Classify one image, or several."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from app import answers, problems
from app.classification import Classified
from app.errors import InvalidParameter, InvalidRequest
from app.http import arrays, failures, fields
from app.http.negotiation import JSON, NPZ, choose
from app.http.query import Count, Name, Query
from app.http.timing import server_timing, stages
from app.http.uploads import parse_many, parse_one, read_body
from app.registry.versions import Version
from app.routes.dependencies import acquire, look_up, ready
from app.schemas import BINARY, IMAGE_BODY, BatchPrediction, Prediction
from app.service import Service
from app.upload import PART, Upload

router = APIRouter(tags=["predictions"])

_OFFERED = (NPZ, JSON)  # the last wins where the caller has no preference
_ANSWER = {
    "description": "The prediction, as JSON or as NumPy arrays, by `Accept`.",
    "content": {NPZ: {"schema": BINARY}},
}
_RESPONSES = {200: _ANSWER} | failures.documented(400, 401, 404, 406, 413, 415, 422, 500, 503, 504)


class Parameters(Query):
    """Query parameters of a prediction."""

    model: Name | None = Field(None, description="`name` or `name:version`; the default model when absent.")
    top: Count | None = Field(None, description="Only the k most probable classes.")
    features: answers.Features = Field(
        True,
        description="Whether to return the pooled features of every branch; `base64`: as the base64 of little-endian "
        "float32, not as an array.",
    )
    explain: bool = Field(False, description="Whether to return each branch's contribution to every logit.")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Lowest probability at which a label is named; else `MULTIPOOL_MIN_CONFIDENCE`."
    )

    def contents(self, min_confidence: float) -> dict[str, Any]:
        """What the answer for each image is to contain, with the service's own least confidence."""
        least = min_confidence if self.min_confidence is None else self.min_confidence
        return {"top": self.top, "features": self.features, "explain": self.explain, "min_confidence": least}


_NAMES = frozenset(Parameters.model_fields)


@router.post(
    "/predict",
    response_model=Prediction,
    responses=_RESPONSES,
    openapi_extra={"parameters": Parameters.described(), **IMAGE_BODY},
)
async def predict(request: Request) -> Response:
    """Classify one image, sent as a form with one part named `file` or as the raw body."""
    return await _answer(request, several=False)


@router.post(
    "/predict/batch",
    response_model=BatchPrediction,
    responses=_RESPONSES,
    openapi_extra={
        "parameters": Parameters.described(),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": [PART],
                        "properties": {PART: {"type": "array", "items": BINARY, "minItems": 1}},
                    }
                }
            },
        },
    },
)
async def predict_batch(request: Request) -> Response:
    """Classify the images of several parts named `file`; one that cannot be used fails alone."""
    return await _answer(request, several=True)


class _Found(NamedTuple):
    """What was asked and found out, before it is written."""

    version: Version
    uploads: list[Upload]
    outcomes: list[Classified]
    """For each upload, its answer or what is wrong with it."""
    start: float
    read_s: float


async def _answer(request: Request, *, several: bool) -> Response:
    """Classify what the body holds; one file that cannot be used is the request's error, of several it is its own."""
    start = time.monotonic()
    service, parameters = await ready(request), Parameters.parse(request.scope["query_string"])
    media_type = _choose(request, parameters)
    found = await _classify(request, service, parameters, start, several=several)
    for one in found.outcomes:
        if isinstance(one, InvalidRequest):
            if not several:
                return failures.of(one, request.scope)
            service.metrics.problems.add(problems.kind_of(one).code)
    if media_type == NPZ:
        content = arrays.write(found.version, found.outcomes, features=bool(parameters.features))
    else:
        content = _json(request, service, parameters, found, several=several)
    return _respond(service, found, content, media_type)


def _choose(request: Request, parameters: Parameters) -> str:
    media_type = choose(fields.joined(request.scope, b"accept"), _OFFERED)
    if media_type == NPZ and (parameters.explain or parameters.features == "base64"):
        asked = "'explain'" if parameters.explain else "'features' = 'base64'"
        raise InvalidParameter(f"query parameter {asked}: it is answered in {JSON} alone, not in {NPZ}")
    return media_type


async def _classify(
    request: Request, service: Service, parameters: Parameters, start: float, *, several: bool
) -> _Found:
    async with service.admission.request() as admitted:
        card = look_up(request, service, parameters.model)
        if parameters.explain:
            card.require_head()  # before there is any work
        body = await read_body(request, service.settings.max_upload_bytes, admitted.hold)
        read_s = time.monotonic() - start
        content_type = fields.first(request.scope, b"content-type")
        if several:
            uploads = parse_many(body, content_type, service.settings.max_files, _NAMES)
        else:
            uploads = [parse_one(body, content_type, _NAMES)]
        admitted.take(len(uploads))  # before any model has to make room for this one
        version = await acquire(request, service, parameters.model)
        if parameters.explain:
            version.model.require_head()  # it may have been replaced since
        outcomes = await service.classifier.classify(version.model, uploads)
    return _Found(version, uploads, outcomes, start, read_s)


def _json(request: Request, service: Service, parameters: Parameters, found: _Found, *, several: bool) -> bytes:
    contents, version = parameters.contents(service.settings.min_confidence), found.version

    def result(one: Classified) -> dict[str, Any]:
        if isinstance(one, InvalidRequest):
            return {"error": problems.body(problems.kind_of(one), str(one), request.scope["state"]["request_id"])}
        return answers.prediction(version, one, **contents)

    if several:
        pairs = zip(found.uploads, found.outcomes, strict=True)
        results = [{"filename": upload.filename, **result(one)} for upload, one in pairs]
        answer = {"model": version.name, "version": version.number, "results": results}
    else:
        answer = result(found.outcomes[0])
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _respond(service: Service, found: _Found, content: bytes, media_type: str) -> Response:
    """Send the answer, with the longest time any of its images spent in each stage, and count it."""
    version, answered = found.version, [one for one in found.outcomes if not isinstance(one, InvalidRequest)]
    ran = [one for one in answered if not one.cached]
    spent = stages(ran, found.read_s, found.start)
    labels = version.model.metadata.labels
    service.metrics.count_prediction(
        version.name,
        version.number,
        images=len(ran),
        batches=sum([one.row == 0 for one in ran]),  # the first row of a batch stands for the batch
        labels=[labels[one.result.winner(one.row)] for one in answered],
        stages=spent,
    )
    headers = {"Vary": "Accept"}
    if service.settings.cached_answers:
        service.metrics.count_cached(hits=len(answered) - len(ran), misses=len(ran))
        # RFC 9211; of several images, whether all were remembered, which those that cannot be used never are
        hit = not ran and len(answered) == len(found.outcomes)
        headers["Cache-Status"] = "multipool; " + ("hit" if hit else "fwd=miss")
    headers["Server-Timing"] = server_timing(spent)
    return Response(content, headers=headers, media_type=media_type)


DIRECT = {("POST", "/predict"): predict, ("POST", "/predict/batch"): predict_batch}
"""What is called without FastAPI in between; its document describes them all the same."""
