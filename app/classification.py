"""Files in, answers out: admitted or refused at once, decoded in threads, batched, in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import images
from app.batching import Answer, Batcher
from app.errors import DeadlineExceeded, InvalidRequest, Overloaded
from app.model import Outputs
from app.repository import Version
from app.uploads import Upload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Classified:
    """What came of one file, and the seconds each stage took."""

    answer: Answer[Outputs] | InvalidRequest
    decoded_s: float

    @property
    def stages(self) -> dict[str, float]:
        """Seconds per stage, in the order they happen."""
        if isinstance(self.answer, InvalidRequest):
            return {"decode": self.decoded_s}
        return {"decode": self.decoded_s, "queue": self.answer.queued_s, "inference": self.answer.ran_s}


class Classifier:
    """Classifies files with any model of the repository. Lives on one event loop."""

    def __init__(
        self,
        *,
        cores: int,
        queue_size: int,
        timeout_s: float,
        max_pixels: int,
        max_batch_size: int,
        max_batch_delay_s: float,
    ) -> None:
        self._queue_size = queue_size
        self._timeout_s = timeout_s
        self._max_pixels = max_pixels
        self._max_batch_size = max_batch_size
        self._max_batch_delay_s = max_batch_delay_s
        self._in_work = 0
        self._batchers: dict[tuple[str, int], Batcher[Outputs]] = {}
        # Pillow and ONNX Runtime let go of the interpreter lock while they work, so threads do.
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode")
        self._runners = ThreadPoolExecutor(cores, thread_name_prefix="run")

    async def classify(self, version: Version, uploads: Sequence[Upload]) -> list[Classified]:
        """Classify files with one model; a file that cannot be used gets its error, the others their answers.

        One image is counted by :meth:`admitted`, under which this is to be called; here the others are.

        Raises:
            Overloaded: There is no room for that many more images.
        """
        with self._counted(len(uploads) - 1):
            return await asyncio.gather(*(self._classify(version, upload) for upload in uploads))

    def close(self) -> None:
        """Let the threads end."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._runners.shutdown(wait=False, cancel_futures=True)

    async def _classify(self, version: Version, upload: Upload) -> Classified:
        start = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            image = await loop.run_in_executor(self._decoders, self._decode, version, upload)
        except InvalidRequest as error:
            return Classified(error, time.monotonic() - start)
        decoded_s = time.monotonic() - start
        return Classified(await self._batcher(version).submit(image), decoded_s)

    def _decode(self, version: Version, upload: Upload) -> NDArray[np.uint8]:
        return images.decode(
            upload.data,
            version.model.shape,
            media_type=upload.media_type,
            value_range=version.model.metadata.recipe.value_range,
            max_pixels=self._max_pixels,
        )

    def _batcher(self, version: Version) -> Batcher[Outputs]:
        key = (version.name, version.number)
        if key not in self._batchers:
            self._batchers[key] = Batcher(
                version.model.run,
                self._runners,
                max_batch_size=self._max_batch_size,
                max_delay_s=self._max_batch_delay_s,
            )
        return self._batchers[key]

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Let a request in, before anything of its body is read, and see that it is answered in time.

        Raises:
            Overloaded: As many images as allowed are in work.
            DeadlineExceeded: The request was not read and answered in time; nothing of it is left queued.
        """
        with self._counted(1):
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the request was not received and answered within {self._timeout_s:g} s; "
                    "try again, or send fewer images at once"
                ) from None

    @contextmanager
    def _counted(self, images: int) -> Iterator[None]:
        """Count images in and out; what does not fit is refused before any work is done for it."""
        if self._in_work + images > self._queue_size:
            raise Overloaded(f"{self._in_work} images are in work already; try again in a moment")
        self._in_work += images
        try:
            yield
        finally:
            self._in_work -= images
