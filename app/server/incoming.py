"""How much of a request has been received."""

from __future__ import annotations

_FRAMING_BYTES = 64 * 1024
"""What may come with a body of any size and is not body; of a large one, a sixteenth of it more."""


class Incoming:
    """Counts the bytes of the request that a connection is receiving."""

    __slots__ = ("body_bytes", "header_bytes", "in_body", "in_header", "received_bytes", "window_start")

    def __init__(self) -> None:
        self.in_header, self.in_body = True, False
        """Whether a header, or a body, is expected or has begun, and is not complete yet."""
        self.header_bytes = 0
        """Bytes of a header that is not complete yet."""
        self.body_bytes = 0
        self.received_bytes = 0
        """Bytes of the body, including its framing."""
        self.window_start = 0
        """``body_bytes`` at the start of the current time window."""

    def begin(self) -> None:
        """Start counting the header of the next request."""
        self.in_header = True
        self.received_bytes = self.body_bytes = 0

    def end_header(self) -> None:
        """Start counting the body."""
        self.in_header, self.in_body = False, True
        self.header_bytes = 0

    def in_window(self) -> int:
        """Bytes of the body received in the current time window."""
        return self.body_bytes - self.window_start

    def is_mostly_framing(self) -> bool:
        """Whether too much of what was received for the body is not body: tiny chunks, extensions, trailers."""
        return self.received_bytes - self.body_bytes > _FRAMING_BYTES + self.body_bytes // 16
