"""Files in, answers out: each model has its batcher, and all share the threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from app import images
from app.batching import Answer, Batcher
from app.budget import Budget
from app.cache import AnswerCache
from app.errors import InvalidRequest, TooManyPixels
from app.faults import Guard
from app.model import Model
from app.outputs import Explained, Outputs
from app.shortcut import MAX_PIXELS, Shortcut
from app.threads import Threads
from app.upload import Upload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Classified = Answer[Outputs] | InvalidRequest
"""The answer to one file, or the reason why it cannot be used."""


class Classifier:
    """Classifies files with any model of the repository. Lives on one event loop."""

    def __init__(
        self,
        *,
        threads: int,
        max_pixels: int,
        max_batch_size: int,
        max_batch_delay_s: float,
        cached_answers: int = 0,
    ) -> None:
        self._max_pixels = max_pixels
        self._pixels = Budget(2 * max_pixels)
        self._max_batch_size = max_batch_size
        self._max_batch_delay_s = max_batch_delay_s
        self.guard = Guard()
        self._cache = AnswerCache(cached_answers) if cached_answers else None
        self._shortcut = None if max_batch_delay_s else Shortcut()
        self._at_work = 0
        self._batchers: WeakKeyDictionary[Model, Batcher[Outputs]] = WeakKeyDictionary()
        # Pillow and ONNX Runtime let go of the interpreter lock while they work, so threads do.
        self._threads = Threads(threads, "classify")

    async def classify(self, model: Model, uploads: Sequence[Upload]) -> list[Classified]:
        """Classify files with one model; a file that cannot be used gets its error, the others their answers.

        Returns:
            One for each file, in order.
        """
        alone = len(uploads) == 1 and not self._at_work
        classify = self._classify if self._cache is None else partial(self._recall, self._cache)
        if len(uploads) == 1:
            return [await classify(model, uploads[0], alone=alone)]
        tasks = [asyncio.ensure_future(classify(model, upload, alone=alone)) for upload in uploads]
        try:
            return await asyncio.gather(*tasks)
        finally:
            while tasks:  # no one waits for those still at work when one has failed, nor is its error to be held here
                tasks.pop().cancel()

    async def explain(self, model: Model, upload: Upload) -> tuple[NDArray[np.uint8], Answer[Explained]]:
        """Decode and classify one file, with what the branches pool.

        Returns:
            The image ``uint8 [H, W, C]`` as the model saw it, and the answer.

        Raises:
            InvalidRequest: The file cannot be used.
        """

        def run(batch: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Explained]:
            return batch[0], self.guard.watch(model.run_with_maps, batch)

        alone = Batcher(run, self._threads)
        answer = await alone.submit(partial(self._decode, model, upload, self._max_pixels))
        image, explained = answer.result
        return image, Answer(explained, 0, answer.decoded_s, answer.queued_s, answer.ran_s)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    async def _recall(self, cache: AnswerCache, model: Model, upload: Upload, *, alone: bool) -> Classified:
        """Return the cached answer, or classify and cache; either way the image counts for drift."""
        key = await cache.key(model, upload)
        if (known := cache.get(key)) is not None:
            model.observe(known.result)
            return known
        classified = await self._classify(model, upload, alone=alone)
        if not isinstance(classified, InvalidRequest):
            cache.put(key, classified)
        return classified

    async def _classify(self, model: Model, upload: Upload, *, alone: bool) -> Classified:
        try:
            answer = None
            if self._shortcut is not None and self._shortcut.suits(model, upload, alone=alone):
                answer = await self._at_once(self._shortcut, model, upload)
            return answer or await self._in_a_thread(model, upload)
        except InvalidRequest as error:
            return error.with_traceback(None)  # its frames hold what is returned here, and so the error itself

    async def _at_once(self, shortcut: Shortcut, model: Model, upload: Upload) -> Answer[Outputs] | None:
        """Decode and run an image right here, if it has few pixels; None otherwise."""
        arrived = time.monotonic()
        if not shortcut.is_open():
            await shortcut.turn()
        start = time.monotonic()
        try:
            image = self._decode(model, upload, min(self._max_pixels, MAX_PIXELS))
            decoded = time.monotonic()
            result = self.guard.watch(model.run, image[None])
            return Answer(result, 0, decoded - start, start - arrived, time.monotonic() - decoded)
        except TooManyPixels:
            return None  # whether it is too large for threads as well, they find out
        finally:
            shortcut.spend(time.monotonic() - start)

    async def _in_a_thread(self, model: Model, upload: Upload) -> Answer[Outputs]:
        self._at_work += 1
        try:
            return await self._batcher(model).submit(partial(self._decode, model, upload, self._max_pixels))
        finally:
            self._at_work -= 1

    def _decode(self, model: Model, upload: Upload, max_pixels: int) -> NDArray[np.uint8]:
        return images.decode(
            upload.data,
            model.shape,
            media_type=upload.media_type,
            value_range=model.metadata.recipe.value_range,
            max_pixels=max_pixels,
            room=self._pixels.take,
        )

    def _batcher(self, model: Model) -> Batcher[Outputs]:
        batcher = self._batchers.get(model)
        if batcher is None:
            loaded = ref(model)  # what waits for an answer keeps the model; what only might come does not

            def run(batch: NDArray[np.uint8]) -> Outputs:
                model = loaded()
                if model is None:  # pragma: no cover  # all who waited for these images have just left
                    raise RuntimeError("the model was unloaded")
                run = model.run
                return self.guard.run(lambda part: run(part, alone=self._at_work == 1), batch)

            batcher = self._batchers[model] = Batcher(
                run,
                self._threads,
                lanes=model.lanes,
                max_batch_size=self._max_batch_size,
                max_delay_s=self._max_batch_delay_s,
            )
        return batcher
