"""Two sessions over one file on the CPU: one for images that go on side by side, one for an image that is alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnxruntime as ort

from app.sessions import INPUT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Pair:
    """A session that computes in the caller's thread, and one that spreads each image over all cores.

    With the first, as many images as there are cores are computed at once, and none waits for another. The second
    answers sooner, as long as no other image wants the cores.
    """

    runs_in_caller = True
    """Whether the thread that calls is the one that computes."""

    def __init__(self, open_session: Callable[[int], ort.InferenceSession], threads: int, largest: int) -> None:
        """Open them.

        Args:
            open_session: Opens one that spreads each run over so many cores.
            threads: Cores there are; with one, a single session serves both ends.
            largest: Most images in a batch.
        """
        self.lanes = threads
        """How many batches are best run at once."""
        self.sizes = sorted({1, min(2, largest)})  # nothing depends on it; two, to see that the graph takes batches
        """Numbers of images, ascending, that are to be run once before the first request."""
        self.first = open_session(1)
        """A session that can be asked what the artifact is."""
        self._wide = open_session(threads) if threads > 1 else self.first
        self.ways = [False] if self._wide is self.first else [False, True]
        """What ``alone`` has to be, in turn, for a batch to be run by all there is."""

    def run(
        self, names: list[str], batch: NDArray[np.uint8], options: ort.RunOptions, *, alone: bool = False
    ) -> list[NDArray[np.float32]]:
        """Fetch outputs for a batch ``uint8 [N, H, W, C]``; ``alone`` when no other run is likely to want the cores."""
        session = self._wide if alone else self.first
        results: list[NDArray[np.float32]] = session.run(names, {INPUT: batch}, options)
        return results
