"""What is measured of one model on a GPU, each thing beside what it is to be compared with.

Needs ONNX Runtime and NumPy alone; float16 takes onnx too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import feeds
from benchmarks.feeds import Feed

_THREADS, _TURNS = 4, 50


class Bench:
    """The measurements of one model; those that raise cannot be had here."""

    def __init__(self, file: Path, *, on_gpu: bool, largest: int, seconds: float) -> None:
        """Open it on the CPU, whose answers the others are compared with.

        Args:
            file: An artifact.
            on_gpu: Whether to measure it on the GPU; else on the CPU.
            largest: Batch size.
            seconds: For each speed.
        """
        self._file = file
        self._options: dict[str, str] | None = {} if on_gpu else None
        self._sizes = [2**power for power in range(largest.bit_length())]
        self._pair = sorted({1, min(32, self._sizes[-1])})
        self._seconds = seconds
        self._cpu = Feed(file, None)

    def _served(self) -> Feed:
        """Open it as the service does."""
        return Feed(self._file, self._options)

    def parity(self) -> dict[str, Any]:
        """Largest difference to the CPU, of every output, for every batch size, and of what threads get at once."""
        served = self._served()
        outputs, sizes = dict.fromkeys(self._cpu.outputs, 0.0), {}
        for size in self._sizes:
            batch = self._cpu.batch(size)
            pairs = zip(self._cpu.run(batch, self._cpu.outputs), served.run(batch, self._cpu.outputs), strict=True)
            found = {name: _difference(*pair) for name, pair in zip(outputs, pairs, strict=True)}
            sizes[str(size)] = max(found.values())
            outputs = {name: max(outputs[name], found[name]) for name in outputs}
        return {
            "provider": served.provider,
            "outputs": outputs,
            "batch sizes": sizes,
            "threads at once": self._together(served),
        }

    def _together(self, served: Feed) -> float:
        """Largest difference of what threads get that share a session, each with another batch."""
        batch = self._cpu.batch(self._pair[-1])
        expected = self._cpu.run(batch)

        def worst(turn: int) -> float:
            turned = [np.roll(one, turn, 0) for one in (batch, *expected)]
            pairs = [zip(turned[1:], served.run(turned[0]), strict=True) for _ in range(_TURNS)]
            return max(_difference(*pair) for each in pairs for pair in each)

        with ThreadPoolExecutor(_THREADS) as threads:
            return max(threads.map(worst, range(_THREADS)))

    def sweep(self) -> dict[str, int]:
        """Images per second by batch size."""
        served = self._served()
        return {str(size): self._rate(served, size) for size in self._sizes}

    def alternating(self) -> dict[str, float]:
        """Milliseconds of all sizes together, once after the other: in one session, and in one for each size."""
        batches = [self._cpu.batch(size) for size in self._sizes]
        alone, several = self._served(), [self._served() for _ in batches]
        found = {}
        for name, sessions in (("one session", [alone] * len(batches)), ("a session for each size", several)):

            def run(sessions: list[Feed] = sessions) -> list[np.ndarray]:
                return [feed.run(batch)[0] for feed, batch in zip(sessions, batches, strict=True)]

            found[name] = round(1000 / feeds.rate(run, 1, self._seconds), 3)
        return found

    def way(self, way: str) -> dict[str, Any]:
        """One way of feeding: images per second, and the largest difference of its outputs."""
        feed = Feed(self._file, self._options, graph=way == "CUDA graph")
        return self._both(feed, way)

    def option(self, options: dict[str, str]) -> dict[str, Any]:
        """The same with other options of the provider."""
        return self._both(Feed(self._file, options))

    def float16(self, options: dict[str, str] = feeds.FOR_FLOAT16) -> dict[str, Any]:
        """The same in float16, and for how much of the noise it names the same class."""
        try:
            import onnx  # noqa: PLC0415  # all else does without

            from model_export.artifact.halving import halved  # noqa: PLC0415  # the same
        except ImportError as error:
            raise RuntimeError(f"{error.name} is not installed: pip install onnx sympy") from None
        half = halved(onnx.ModelProto.FromString(self._file.read_bytes())).SerializeToString()
        feed = Feed(half, None if self._options is None else options)
        batch = self._cpu.batch(self._sizes[-1])
        names = [one.run(batch, ["probabilities"])[0].argmax(1) for one in (self._cpu, feed)]
        return {**self._both(feed), "same class": float((names[0] == names[1]).mean())}

    def threads(self) -> dict[str, int]:
        """Images per second of several threads that share the session, as the service's lanes do."""
        served, size = self._served(), self._sizes[-1]
        batch = self._cpu.batch(size)
        return {str(count): feeds.crowd(lambda: served.run(batch), size, count, self._seconds) for count in (1, 2, 4)}

    def memory(self) -> dict[str, float]:
        """Megabytes of the GPU that a session takes, opened and after every batch size; and a session for each size."""
        before = feeds.memory_in_use()
        alone = self._served()
        opened = feeds.memory_in_use()
        for size in self._sizes:
            alone.run(self._cpu.batch(size))
        after = feeds.memory_in_use()
        several = [self._served() for _ in self._sizes]
        for served, size in zip(several, self._sizes, strict=True):
            batch = self._cpu.batch(size)
            feeds.crowd(lambda served=served, batch=batch: served.run(batch), size, 2, 0)  # as the service's lanes do
        found = {"opened": opened - before, "after every size": after - before}
        found["a session for each size"] = feeds.memory_in_use() - after
        return {name: round(megabytes, 1) for name, megabytes in found.items()}

    def _both(self, feed: Feed, way: str = "plain") -> dict[str, Any]:
        found: dict[str, Any] = {}
        largest = 0.0
        for size in self._pair:
            batch = self._cpu.batch(size)
            run = feed.runner(batch, way)
            expected = self._cpu.run(batch)
            for _ in range(3):  # also what a graph gives when it is played again
                largest = max(largest, *(_difference(*pair) for pair in zip(expected, run(), strict=True)))
            found[f"images/s, batch {size}"] = feeds.rate(run, size, self._seconds)
        return {**found, "largest difference": largest}

    def _rate(self, feed: Feed, size: int) -> int:
        return feeds.rate(feed.runner(self._cpu.batch(size), "plain"), size, self._seconds)


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """Largest difference, as a share of the largest value where that is above 1: how an export is verified too."""
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected.astype(np.float64) - found).max() / max(1, np.abs(expected).max()))
