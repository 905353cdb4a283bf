"""What one connection may take: bytes and seconds, and what the header of a request has to look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Fault(NamedTuple):
    """Why a request is refused: the HTTP status, and words for the sender."""

    status: int
    detail: str


@dataclass(frozen=True)
class Limits:
    """The limits of every connection; HTTP itself sets none.

    Those without a setting have the size of nginx's and HAProxy's own (32 KiB and 101 fields of header, 8 KiB of
    address), and the times that the CIS benchmark for nginx asks for, or less.
    """

    connections: int = 1024
    """Open connections of one process."""
    is_full: Callable[[], bool] = lambda: False
    """Asked before any work is done for a request of ``admitted``, which is refused at once where it says so."""
    admitted: frozenset[str] = frozenset()
    """Paths of the requests that are counted."""
    body_bytes: int = 32 * 1024 * 1024
    """Announced with ``Expect: 100-continue``, more is refused before it is sent."""
    header_s: float = 5
    """From the first byte, or from the opening of the connection, to the end of the header."""
    header_bytes: int = 32 * 1024
    header_fields: int = 100
    url_bytes: int = 8 * 1024
    pipelined: int = 100
    """Requests of one connection that wait for the answer to the one before."""
    window_s: float = 5
    window_bytes: int = 5 * 1024
    """Least that has to arrive of a body in each window of time."""
    linger_s: float = 2
    """How long what a refused client still sends is read over, so that it gets to see the answer."""
    write_s: float = 30
    """How long a client may leave its answer unfetched."""

    def fault(self, version: str, headers: Sequence[tuple[bytes, bytes]]) -> Fault | None:
        """Say what is wrong with the header of a request (RFC 9112), or None."""
        size = hosts = 0
        for name, value in headers:
            size += len(name) + len(value)
            hosts += name == b"host"
        if version not in {"1.0", "1.1"}:
            return Fault(400, "HTTP/1.1 is spoken here")
        if size > self.header_bytes:
            return Fault(431, f"the header exceeds {self.header_bytes:,} bytes")
        if hosts > 1 or (not hosts and version == "1.1"):
            return Fault(400, "send the header Host, once")
        return self._fault_of_body(dict(headers))

    def _fault_of_body(self, header: dict[bytes, bytes]) -> Fault | None:
        if header.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            return Fault(400, "the only transfer coding accepted is 'chunked'")
        if header.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            return Fault(415, "the body is compressed; send it as it is, without Content-Encoding")
        expected = header.get(b"expect", b"").strip().lower()
        if expected not in {b"", b"100-continue"}:
            return Fault(417, "the only expectation that can be met is '100-continue'")
        if expected and int(header.get(b"content-length", 0)) > self.body_bytes:
            return Fault(413, f"the body is larger than {self.body_bytes:,} bytes; send a smaller image, or fewer")
        return None

    def outweighs(self, received: int, body: int) -> bool:
        """Tell whether most of what was received for a body is not body: tiny chunks, extensions, trailers."""
        return received - body > 64 * 1024 + body // 16
