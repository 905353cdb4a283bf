"""From a request body to files: raw bytes, or ``multipart/form-data`` (RFC 7578). Nothing touches the disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import multipart
from starlette.requests import ClientDisconnect

from app.decoders.formats import essence
from app.errors import BodyTooLarge, EmptyFile, InvalidParameter, MalformedRequest, MissingFile
from app.http import fields
from app.upload import PART, Upload

if TYPE_CHECKING:
    from starlette.requests import Request

_OTHER_PARTS = 8
_LONGEST_NAME = 40
_LARGEST_HEADER = 4096
_CODING = "Content-Transfer-Encoding"


async def read_body(request: Request, limit: int, hold: Callable[[int], None] = lambda _: None) -> bytes:
    """Read the whole body, at most ``limit`` bytes; a body announced as longer is refused unread.

    Args:
        request: What is being received.
        limit: Most bytes.
        hold: Called with the number of bytes as they arrive; raises an error if there is no room for them.

    Raises:
        BodyTooLarge: There are more bytes.
        ClientDisconnect: The client has gone.
    """
    announced = fields.first(request.scope, b"content-length") or ""
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        hold(len(chunk))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_one(body: bytes, content_type: str | None, parameters: Collection[str] = ()) -> Upload:
    """Take the one image of a request: the part named ``file``, or the body itself.

    Args:
        body: All of it.
        content_type: As the request has it.
        parameters: Query parameters, which a form must not hold, since they have no effect there.

    Raises:
        EmptyFile: There is no body.
        MalformedRequest, MissingFile, InvalidParameter: The form is broken, has no such part, several, or a parameter.
    """
    if not is_form(content_type):
        if not body:
            raise EmptyFile(
                "no image arrived: the body is empty; check that the file is there, and that it is not empty"
            )
        return Upload(body, content_type)
    several = "the form has several parts named 'file'; send one, or use POST /predict/batch"
    return _files(body, content_type, 1, several, parameters)[0]


def parse_many(body: bytes, content_type: str | None, max_files: int, parameters: Collection[str] = ()) -> list[Upload]:
    """Take all parts named ``file`` of a form, in order; as :func:`parse_one`.

    Raises:
        MalformedRequest: The form is broken.
        MissingFile: The body is not a form, or has no part named ``file``.
        InvalidParameter: It has more files than allowed, or a parameter.
    """
    if not is_form(content_type):
        raise MissingFile("send multipart/form-data with one part named 'file' for each image, as 'curl -F' does")
    too_many = f"the form has more than {max_files} files; send them in several requests"
    return _files(body, content_type, max_files, too_many, parameters)


def is_form(content_type: str | None) -> bool:
    """Tell whether the body is ``multipart/form-data``."""
    return essence(content_type) == "multipart/form-data"


def _files(
    body: bytes, content_type: str | None, max_files: int, too_many: str, parameters: Collection[str]
) -> list[Upload]:
    uploads: list[Upload] = []
    others: list[str] = []
    try:
        for segment, payload in _parts(body, _boundary(content_type or ""), max_files + _OTHER_PARTS):
            if segment.name in parameters:
                name = segment.name
                raise InvalidParameter(f"{name!r} is a query parameter, not a field: use ?{name}=… in the address")
            if segment.name == PART and _is_file(segment):
                if len(uploads) == max_files:
                    raise InvalidParameter(too_many)
                if (coding := segment.header(_CODING, "").lower()) in ("base64", "quoted-printable"):
                    raise MalformedRequest(f"the file is sent as {coding} ({_CODING}); send the bytes as they are")
                uploads.append(Upload(payload, segment.content_type, _text(segment.filename)))
            elif segment.name:
                others.append(segment.name)
    except multipart.MultipartError as error:
        error.__traceback__ = None  # the parser holds the error, which would hold the parser so, and the body
        large = isinstance(error, multipart.ParserLimitReached)
        what = "has too many or too long parts" if large else "is broken or incomplete"
        raise MalformedRequest(f"the form {what}: {error.args[0]}") from None
    if not uploads:
        raise MissingFile(_nothing_sent(others))
    return uploads


def _nothing_sent(others: list[str]) -> str:
    """Say what to do where a form has no file in the right part, but perhaps other parts, of which one is named."""
    if PART in others:
        return "the part 'file' of the form is text; with curl, put an @ before the path: curl -F file=@image.jpg"
    instead = f", but one named {(_text(others[0]) or '')[:_LONGEST_NAME]!r}" if others else ""
    return f"the form has no file in a part named 'file'{instead}; send one, as in: curl -F file=@image.jpg"


def _boundary(content_type: str) -> str:
    _, options = multipart.parse_options_header(content_type[:_LARGEST_HEADER])
    boundary = str(options.get("boundary", ""))
    if not boundary or not boundary.isascii():
        raise MalformedRequest("the header Content-Type names no boundary; let your client write that header itself")
    return boundary


def _parts(body: bytes, boundary: str, max_parts: int) -> Iterator[tuple[multipart.MultipartSegment, bytes]]:
    """Yield what stands over each part, and the part."""
    parser = multipart.PushMultipartParser(
        boundary,
        max_header_size=_LARGEST_HEADER,
        max_segment_count=max_parts,
        header_charset="latin-1",  # any bytes at all
        strict=True,
    )
    with parser:
        segment, payload = None, b""
        for event in parser.parse(body):
            if isinstance(event, multipart.MultipartSegment):
                segment, payload = event, b""
            elif event:
                payload = event  # the whole body is parsed at once, so a part's payload comes in one piece
            elif segment is not None:
                yield segment, payload


def _is_file(segment: multipart.MultipartSegment) -> bool:
    """Tell a file from a text field: it has a name, perhaps in the form that RFC 7578 advises against, or a type."""
    named = segment.filename is not None or "filename*=" in segment.header("Content-Disposition", "")
    return named or segment.content_type is not None


def _text(name: str | None) -> str | None:
    """Read a name, which comes as Latin-1, as the UTF-8 that RFC 7578 asks for, if it is that."""
    try:
        return name and name.encode("latin-1").decode()
    except UnicodeDecodeError:
        return name


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit:,} bytes; send a smaller image, or fewer at once")
