"""Answers that are remembered: the same bytes to the same artifact give the same answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

from app.batching import Answer
from app.decoders.formats import essence
from app.model import Model
from app.outputs import Outputs
from app.upload import Upload

_LONG = 1 << 18  # bytes; the digest of more would hold up the event loop for a noticeable time

Key = tuple[str, bytes, str]


class AnswerCache:
    """Keeps the answers used last, by the artifact's digest and that of the image's bytes. Lives on one event loop."""

    def __init__(self, capacity: int) -> None:
        """Set the number of answers kept, at least one."""
        self._capacity = capacity
        self._answers: OrderedDict[Key, Answer[Outputs]] = OrderedDict()

    async def key(self, model: Model, upload: Upload) -> Key:
        """Compute what an image is remembered by; the declared type is part of it, as it decides how bytes are read."""
        short = len(upload.data) < _LONG
        digest = _digest(upload.data) if short else await asyncio.to_thread(_digest, upload.data)
        return model.sha256, digest, essence(upload.media_type)[:80]

    def get(self, key: Key) -> Answer[Outputs] | None:
        """Look up an answer."""
        if key not in self._answers:
            return None
        self._answers.move_to_end(key)
        return self._answers[key]

    def put(self, key: Key, answer: Answer[Outputs]) -> None:
        """Remember an answer, and forget the one that was not used for the longest time."""
        # Its own row alone: the rest of its batch is not to be kept alive.
        alone = answer.result.row(answer.row)
        self._answers[key] = Answer(alone, 0, decoded_s=0, queued_s=0, ran_s=0, cached=True)
        self._answers.move_to_end(key)
        if len(self._answers) > self._capacity:
            self._answers.popitem(last=False)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
