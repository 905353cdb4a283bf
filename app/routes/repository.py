"""Models in and out of service by request: the model repository extension of KServe's and Triton's protocol.

Only there when an admin key is set. What is loaded is what lies in the model repository's folder; nothing can be sent.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from app import catalogue
from app.errors import InvalidArtifact, MalformedRequest, ModelNotFound, MultipoolError, NotReady
from app.http import failures
from app.http.uploads import read_body
from app.orders import Order
from app.routes.dependencies import AnyService, ready
from app.service import Service

router = APIRouter(prefix="/v2/repository", tags=["repository"])

_LARGEST_BODY = 64 * 1024
_OBJECT: dict[str, Any] = {"type": "object"}
_NAME_ALONE = _OBJECT | {"properties": {"parameters": _OBJECT | {"maxProperties": 0}}}


class _Filter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ready: bool = False


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


@router.post(
    "/index", openapi_extra=_json(_Filter.model_json_schema()), responses=failures.documented(400, 401, 413, 500)
)
async def index(request: Request, service: AnyService) -> list[dict[str, str]]:
    """List every version that was found, its state, and the reason; with `{"ready": true}` those that are served."""
    try:
        wanted = _Filter.model_validate(await _document(request))
    except ValidationError:
        raise MalformedRequest('the body takes "ready" alone, true or false; send {} or {"ready": true}') from None
    found = catalogue.index(service.repository)
    return [one for one in found if one["state"] == "READY"] if wanted.ready else found


@router.post(
    "/models/{name}/load",
    openapi_extra=_json(_NAME_ALONE),
    responses=failures.documented(400, 401, 404, 413, 422, 500, 503, loading=True),
)
async def load(request: Request, service: AnyService, name: str) -> dict[str, Any]:
    """Serve what is in the folder of a model, at once and with its highest version in memory."""
    if (await _document(request)).get("parameters", {}) != {}:
        raise MalformedRequest(
            "a load takes nothing but the model's name, no files and no config; put them into the model repository"
        )
    await ready(request)  # before that, most models are not known
    loading = asyncio.get_running_loop().run_in_executor(service.orders.loads, _load, service, name)
    failure = await asyncio.shield(loading)  # which goes on if the client does not wait, even if it has not begun
    if failure is not None:
        raise failure
    return {}


@router.post(
    "/models/{name}/unload", openapi_extra=_json(_OBJECT), responses=failures.documented(400, 401, 404, 413, 500, 503)
)
async def unload(request: Request, service: AnyService, name: str) -> dict[str, Any]:
    """Serve no version of a model until it is loaded again, and free its memory once its last request is done."""
    await _document(request)
    await ready(request)
    repository = service.repository
    try:
        repository.unload(name)
    except ModelNotFound:
        repository.unload(name, to_come=await asyncio.to_thread(repository.is_to_come, name))
    service.orders.tell_others(Order("unload", name))
    return {}


def _load(service: Service, name: str) -> MultipoolError | None:
    """Load a model in all workers; returns why it cannot be loaded, because nobody may be there to be told."""
    failure = None
    try:
        service.orders.load(name)
    except MultipoolError as error:
        failure = error
    if failure is None or isinstance(failure, InvalidArtifact | NotReady):  # the others, too, serve what they can
        service.orders.tell_others(Order("load", name))
    return failure


async def _document(request: Request) -> Any:
    """Read the body, a JSON object; orjson itself bounds how deep it may be nested."""
    body = await read_body(request, _LARGEST_BODY)
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise MalformedRequest("the body must be a JSON object")
    return document
