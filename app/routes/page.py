"""The page and the description of the interface, made only of files of this package."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from app.http import fields

router = APIRouter(include_in_schema=False)

INDEX, DOCS = "index.html", "docs.html"
HEADERS = {
    # Only files of this service, and images that the page itself has made.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), clipboard-write=(self), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # Always revalidated, and answered with 304 while unchanged.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Asset:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """Read the files of the page, once."""
    found = {}
    for file in resources.files("app").joinpath("web").iterdir():
        content = file.read_bytes()
        media_type = "text/javascript" if file.name.endswith(".js") else mimetypes.guess_type(file.name)[0] or ""
        found[file.name] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return _respond(request, INDEX)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the page that shows what ``/openapi.json`` describes."""
    return _respond(request, DOCS)


@router.get("/web/{name}")
async def asset(request: Request, name: str) -> Response:
    """Return a file of the page."""
    if name not in assets():
        raise HTTPException(404)
    return _respond(request, name)


def _respond(request: Request, name: str) -> Response:
    found = assets()[name]
    headers = {**HEADERS, "ETag": found.etag}
    known = fields.joined(request.scope, b"if-none-match")
    if known == "*" or found.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
