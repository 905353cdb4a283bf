"""One request and its answer, as in uvicorn, except that the head of an answer is written together with its body.

uvicorn writes them separately: two system calls, two packets, and a client that wakes up twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Cycle(RequestResponseCycle):
    """Writes an answer in one piece if its length is declared and its body comes in one part.

    All other answers are written as uvicorn does, and so are all if its own access log is on.
    """

    _head = b""
    """Head of the answer, until the body is there."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send the next part of the answer."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not (self.response_started or self.access_log):
            self._head = self._compose(message)
            if self._head:
                self.response_started = True
                self.waiting_for_100_continue = False
                return
        elif message["type"] == "http.response.body" and self._head:
            head, self._head = self._head, b""
            if self._complete(head, message):
                return
            self.transport.write(head)
        await super().send(message)

    def _compose(self, message: HTTPResponseStartEvent) -> bytes:
        """Build the head of an answer; empty if its length is not declared.

        Raises:
            RuntimeError: A field contains a control character; a line break could forge another field.
        """
        length, closing = -1, False
        lines = [STATUS_LINE[message["status"]]]
        for name, value in (*self.default_headers, *message.get("headers", ())):  # in lower case, as ASGI requires
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closing = b"close" in value.lower()
            lines += (name, b": ", value, b"\r\n")
        if length < 0:
            return b""
        if not (self.keep_alive or closing):
            lines += (b"connection", b": ", b"close", b"\r\n")
        self.keep_alive &= not closing
        self.chunked_encoding, self.expected_content_length = False, length
        head = b"".join([*lines, b"\r\n"])
        if _CONTROL.search(head) or not head.count(b"\r") == head.count(b"\n") == len(lines) // 4 + 2:
            raise RuntimeError("a header of the answer contains a control character")
        return head

    def _complete(self, head: bytes, message: HTTPResponseBodyEvent) -> bool:
        """Write head and body together and end the answer; False if that is not possible."""
        body = message.get("body", b"")
        is_head = self.scope["method"] == "HEAD"
        if message.get("more_body", False) or not (is_head or len(body) == self.expected_content_length):
            return False
        self.transport.write(head if is_head else head + body)
        self.response_complete = True
        self.message_event.set()
        if not (self.keep_alive or self.more_body):  # the rest of a body is read first
            self.transport.close()
        self.on_response()
        return True
