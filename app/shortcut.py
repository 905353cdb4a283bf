"""Images that take less time to process than to hand to a thread are processed in the event loop.

Handing an image to a thread and its answer back costs about 0.3 ms of processor time: threads wake up, the interpreter
lock changes hands, caches go cold. A small image in a small network takes no longer than that, so it always runs in the
event loop. One that takes a little longer does so only if no other is in progress, so that a crowd gets all cores.
Everything else stays out of the event loop, which has connections to serve. An image qualifies by what bounds its work
(bytes and pixels), a model by the time it was seen to take, and all images together by the length of one turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from app.decoders import formats

if TYPE_CHECKING:
    from app.model import Model
    from app.upload import Upload

MAX_PIXELS = 128 * 128
_MAX_BYTES = 16 * 1024  # decoded in 0.3 ms; a JPEG of as many segments as fit takes 15
_PACKED = (b"zTXt", b"iTXt", b"iCCP")  # parts of a PNG that may unpack to a thousand times their size
_QUICK_S = 0.0002  # a model this quick costs, with decoding, no more than handing the image over
_SHORT_S = 0.001  # one that takes no longer is run here if no other image is in progress
_TURN_S = 0.001  # for which connections wait


class Shortcut:
    """Decides what the event loop processes itself. Lives on one event loop."""

    def __init__(self) -> None:
        self._spent_s = 0.0
        self._latest_s = _TURN_S
        self._renewing = False
        self._returned = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def suits(self, model: Model, upload: Upload, *, alone: bool) -> bool:
        """Tell whether the event loop is to process an image, if it has few pixels; a quick one when its turn comes.

        Args:
            model: What is to classify it.
            upload: The image.
            alone: Whether no other image is in progress or came with it.
        """
        if model.run_s > _SHORT_S or not _is_short(upload.data):
            return False
        return model.run_s <= _QUICK_S or (alone and self.is_open())

    def is_open(self) -> bool:
        """Tell whether this turn has time left, and nobody waits for it."""
        return self._spent_s < _TURN_S and not self._waiting

    async def turn(self) -> None:
        """Wait for a turn; a waiter called after others have spent it is the first to be called in the next one."""
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
        """Count what was spent in this turn; the next one begins after the event loop has served its connections."""
        self._spent_s += seconds
        self._latest_s = seconds
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Begin a turn and call as many waiters as it has time for; repeat while any are left."""
        self._spent_s = 0.0
        self._returned = 0
        called = 0.0
        while self._waiting and called < _TURN_S:
            turn = self._waiting.popleft()
            if not turn.done():  # otherwise the waiter is gone
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
