"""Limits of one connection, in bytes and seconds, and the rules for the header of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_OF_BODY = frozenset((b"content-encoding", b"content-length", b"expect", b"transfer-encoding"))


class Fault(NamedTuple):
    """Why a request is refused: the HTTP status, and a text for the client."""

    status: int
    detail: str


@dataclass(frozen=True)
class Limits:
    """The limits of every connection; HTTP itself sets none.

    Limits that are no setting are as large as those of nginx and HAProxy (32 KiB and 101 fields of header, 8 KiB of
    address), and at most as long as the CIS benchmark for nginx demands.
    """

    connections: int = 1024
    """Open connections of one process."""
    refused_connections: int = 128
    """Further ones that may read that there are too many; beyond that, they are cut off."""
    is_full: Callable[[], bool] = lambda: False
    """Called before any work for a request that carries images; if true, the request is refused at once."""
    body_bytes: int = 32 * 1024 * 1024
    """A larger body that is announced with ``Expect: 100-continue`` is refused before it is sent."""
    header_s: float = 5
    """Time from the first byte, or from the start of the connection, to the end of the header."""
    header_bytes: int = 32 * 1024
    header_fields: int = 100
    url_bytes: int = 8 * 1024
    pipelined: int = 100
    """Requests of one connection that wait for the one before to be answered."""
    window_s: float = 5
    window_bytes: int = 5 * 1024
    """Smallest part of a body that must arrive in each time window."""
    linger_s: float = 2
    """How long further data from a refused client is read and discarded, so that it can read its answer."""
    write_s: float = 30
    """How long a client may take to read its answer, or to send the rest of a body that was answered before its end."""

    def fault(self, version: str, headers: Sequence[tuple[bytes, bytes]]) -> Fault | None:
        """Return what is wrong with the header of a request (RFC 9112), or None."""
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
        return self._fault_of_body(_combined(headers))

    def _fault_of_body(self, header: dict[bytes, bytes]) -> Fault | None:
        if header.get(b"transfer-encoding", b"chunked") != b"chunked":
            return Fault(400, "the only transfer coding accepted is 'chunked'")
        if header.get(b"content-encoding", b"identity") not in {b"identity", b""}:
            return Fault(415, "the body is compressed; send it as it is, without Content-Encoding")
        expected = header.get(b"expect", b"")
        if expected not in {b"", b"100-continue"}:
            return Fault(417, "the only expectation that can be met is '100-continue'")
        if expected and int(header.get(b"content-length", 0)) > self.body_bytes:
            return Fault(413, f"the body is larger than {self.body_bytes:,} bytes; send a smaller image, or fewer")
        return None


def _combined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Give the fields that concern a body in lower case; one that is sent again is a list (RFC 9110, section 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _OF_BODY:
            plain = value.strip().lower()
            found[name] = found[name] + b", " + plain if name in found else plain
    return found
