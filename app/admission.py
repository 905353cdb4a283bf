"""Admission: bounded images in progress, bounded memory for uploads, and a deadline for each request."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from app.errors import DeadlineExceeded, Overloaded


class Admission:
    """Counts the images in progress, and the bytes of uploads that are held. Lives on one event loop.

    An upload takes no place in the queue before it is complete, so slow clients do not keep others from the model. They
    are limited by the number of connections, and by the memory that all uploads together may take.
    """

    def __init__(self, capacity: int, timeout_s: float, upload_bytes: int) -> None:
        """Set the limits.

        Args:
            capacity: Most images in progress at once.
            timeout_s: Time for each request, its upload included.
            upload_bytes: Memory for uploads, of requests that are being received and of those in progress.
        """
        self.capacity = capacity
        self.timeout_s = timeout_s
        self.most_bytes = upload_bytes
        self.images = 0
        """Images in progress now."""
        self.uploaded_bytes = 0
        """Bytes of uploads that are held now."""

    def request(self) -> Admitted:
        """Admit a request before any of its body is read; to be entered by ``async with``.

        Raises:
            Overloaded: There is no room for even one image; raised when it is entered.
            DeadlineExceeded: Its time is over; raised when it is left.
        """
        return Admitted(self)

    def is_full(self) -> bool:
        """Tell whether there is no room for even one more image."""
        return self.images >= self.capacity

    def check(self, images: int) -> None:
        """See that there is room for so many more images.

        Raises:
            Overloaded: As many images as allowed are in progress.
        """
        if self.images + images > self.capacity:
            raise Overloaded(f"{self.images} images are in progress already; try again in a moment")


class Admitted:
    """A request that was admitted: what it holds is released, and its work is cancelled, when it ends or is late."""

    __slots__ = ("_admission", "_bytes", "_images", "_timeout")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._images = 0
        self._bytes = 0
        self._timeout = asyncio.timeout(admission.timeout_s)

    def take(self, images: int) -> None:
        """Count the images of this request in, now that it was received.

        Raises:
            Overloaded: There is no room for that many more images.
        """
        self._admission.check(images)
        self._admission.images += images
        self._images += images

    def hold(self, size: int) -> None:
        """Count bytes that were received for this request.

        Raises:
            Overloaded: Uploads take as much memory as they may.
        """
        if self._admission.uploaded_bytes + size > self._admission.most_bytes:
            raise Overloaded("as many bytes as allowed are being uploaded already; try again in a moment")
        self._admission.uploaded_bytes += size
        self._bytes += size

    async def __aenter__(self) -> Self:
        self._admission.check(1)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._admission.images -= self._images
        self._admission.uploaded_bytes -= self._bytes
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the request was not received and answered within {self._admission.timeout_s:g} s; "
                "try again, or send fewer images at once"
            ) from None
