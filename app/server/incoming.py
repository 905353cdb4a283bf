"""How far the request that a connection receives has come."""

from __future__ import annotations


class Incoming:
    """Counts the bytes of one request after the other."""

    __slots__ = ("body_bytes", "header_bytes", "in_body", "in_header", "received", "window_start")

    def __init__(self) -> None:
        self.in_header, self.in_body = True, False
        self.header_bytes = 0
        """Of a header that is not complete yet."""
        self.body_bytes = 0
        self.received = 0
        """Of the body, with its framing."""
        self.window_start = 0
        """``body_bytes`` when the present window of time began."""

    def begin(self) -> None:
        """Await the header of the next request."""
        self.in_header = True
        self.received = self.body_bytes = 0

    def end_header(self) -> None:
        """Await the body."""
        self.in_header, self.in_body = False, True
        self.header_bytes = 0

    def in_part_of_header(self) -> bool:
        """Tell whether a header has begun that is not complete yet."""
        return self.in_header and self.header_bytes > 0

    def in_window(self) -> int:
        """Count the bytes of the body that have come in the present window of time."""
        return self.body_bytes - self.window_start
