"""Admission: a bounded number of images in progress, and a deadline for each request."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from app.errors import DeadlineExceeded, Overloaded


class Admission:
    """Counts the images in progress. Lives on one event loop."""

    def __init__(self, capacity: int, timeout_s: float) -> None:
        """Set the limits.

        Args:
            capacity: Most images in progress at once.
            timeout_s: Time for each request, its upload included.
        """
        self.capacity = capacity
        self.timeout_s = timeout_s
        self.images = 0
        """Images in progress now."""

    def request(self) -> Request:
        """Admit a request with one image, before any of its body is read; to be entered by ``async with``."""
        return Request(self)

    def is_full(self) -> bool:
        """Tell whether there is no room for even one more image."""
        return self.images >= self.capacity

    def take(self, images: int) -> None:
        """Admit more images; those that do not fit are refused before any work is done for them.

        Raises:
            Overloaded: As many images as allowed are in progress.
        """
        if self.images + images > self.capacity:
            raise Overloaded(f"{self.images} images are in work already; try again in a moment")
        self.images += images


class Request:
    """A request that was let in: its images are counted out, and its work is cancelled, when it ends or is late."""

    __slots__ = ("_admission", "_images", "_timeout")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._images = 0
        self._timeout = asyncio.timeout(admission.timeout_s)

    def take(self, images: int) -> None:
        """Count further images of this request in.

        Raises:
            Overloaded: There is no room for that many more images.
        """
        self._admission.take(images)
        self._images += images

    async def __aenter__(self) -> Self:
        self.take(1)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._admission.images -= self._images
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the request was not received and answered within {self._admission.timeout_s:g} s; "
                "try again, or send fewer images at once"
            ) from None
