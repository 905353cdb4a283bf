"""The shortest way through: an image that is done sooner than it is handed to a thread is done where it arrived.

Handing an image over and its answer back costs some 0.3 ms of processor time: threads wake up, the interpreter lock
changes hands, caches go cold. A small image and a small network take no longer than that themselves. Such an image is
always done in the event loop; one that takes a little longer, when no other is at work, so that a crowd gets all cores.
Everything else stays out of the event loop, which must not be kept from its connections: an image qualifies by what
bounds its work, bytes and pixels, a model by the time that it was seen to take, and all together by their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from app import formats

if TYPE_CHECKING:
    from app.model import Model
    from app.uploads import Upload

MAX_PIXELS = 128 * 128
_MAX_BYTES = 16 * 1024  # decoded in 0.3 ms; the worst that fits, a JPEG of as many scans as can be, takes some 20
_PACKED = (b"zTXt", b"iTXt", b"iCCP")  # parts of a PNG that may unpack to a thousand times their size
_QUICK_S = 0.0002
_SHORT_S = 0.001
_TURN_S = 0.001


class Shortcut:
    """Decides what the event loop does by itself. Lives on one event loop."""

    def __init__(self) -> None:
        self._spent_s = 0.0
        self._latest_s = _TURN_S
        self._renewing = False
        self._returned = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def is_for(self, model: Model, upload: Upload, *, alone: bool) -> bool:
        """Tell whether an image is to be done here and now, if it has few pixels; for a quick one, wait for its turn.

        Args:
            model: What is to classify it.
            upload: The image.
            alone: Whether no other image is at work, or came with it.
        """
        if model.run_s > _SHORT_S or not _is_short(upload.data):
            return False
        if model.run_s > _QUICK_S:
            return alone and self._spent_s < _TURN_S
        if self._spent_s >= _TURN_S or self._waiting:
            await self._turn()
        return True

    async def _turn(self) -> None:
        """Wait; who is called when others have spent the turn already is the next to be called."""
        place = len(self._waiting)
        while True:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.insert(place, turn)
            await turn
            if self._spent_s < _TURN_S:
                return
            place = self._returned
            self._returned += 1

    def spend(self, seconds: float) -> None:
        """Count what was done in this turn of the event loop; the next one begins after it has seen to connections."""
        self._spent_s += seconds
        self._latest_s = seconds
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Begin a turn, and call as many of those that wait as it has time for; again and again while any do."""
        self._spent_s = 0.0
        self._returned = 0
        called = 0.0
        while self._waiting and called < _TURN_S:
            turn = self._waiting.popleft()
            if not turn.done():  # else who waited is gone
                turn.set_result(None)
                called += self._latest_s
        self._renewing = bool(self._waiting)
        if self._renewing:
            asyncio.get_running_loop().call_soon(self._renew)


def _is_short(data: bytes) -> bool:
    if len(data) > _MAX_BYTES:
        return False
    kind = formats.sniff(data)
    return kind == "JPEG" or (kind == "PNG" and not any(part in data for part in _PACKED))
