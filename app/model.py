"""A loaded artifact: its sessions with its metadata."""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from app import digest, selfcheck, sessions
from app.buckets import Buckets
from app.devices import first_line
from app.drift import Drift
from app.errors import InvalidArtifact, InvalidParameter
from app.explanation import BIAS, KERNEL, NO_HEAD, NO_MAPS, Head
from app.familiarity import JOINT, Familiarity
from app.images import Shape
from app.metadata import Metadata
from app.outputs import Explained, Outputs
from app.pair import Pair
from app.sessions import Device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GPU_LANES = 2
"""Batches in flight on a GPU: one is stacked and copied while the other is computed."""

_TIMED_RUNS = 5


class Model:
    """A loaded artifact, safe to run from several threads at once."""

    def __init__(self, runner: Pair | Buckets, metadata: Metadata, shape: Shape, sha256: str) -> None:
        self.metadata = metadata
        self.shape = shape
        """Size of the images it reads."""
        self.sha256 = sha256
        """Digest of the file's bytes, in hexadecimal."""
        self.execution_provider: str = runner.first.get_providers()[0]
        """The ONNX Runtime execution provider that really runs it."""
        self.head: Head | None = None
        """The dense layer behind the logits, once warm; None where the artifact does not carry it."""
        self.run_s = math.inf
        """Seconds that one image takes in the caller's thread on the CPU, once warm; infinite before, and on a GPU."""
        self._runner = runner
        self._names = ["probabilities", "logits", *(branch.output for branch in metadata.branches)]
        self._maps = [branch.maps_output for branch in metadata.branches]
        self._options = ort.RunOptions()
        self._options.only_execute_path_to_fetches = True  # maps that nobody asks for are not made
        self.familiarity = Familiarity.of(metadata)
        """Scores of how well the model knows an image; None where the artifact carries no statistics."""
        self.drift: Drift | None = None
        """How the latest images differ from those of the training set, once warm; None without statistics."""
        self.has_maps = {*self._maps, KERNEL, BIAS} <= {output.name for output in runner.first.get_outputs()}
        """Whether the artifact carries what its branches pool, and the head above it."""

    @classmethod
    def load(cls, data: bytes, device: Device, threads: int = 1, largest_batch: int = 1) -> Model:
        """Load an artifact from its bytes.

        Bytes and not a path: ONNX Runtime then refuses external data, and what is hashed is what is loaded.

        Args:
            data: Content of a ``model.onnx``.
            device: ``cuda`` runs on CUDA alone or not at all.
            threads: Cores to use on the CPU: by as many runs at once, or all by a run that is alone.
            largest_batch: Images that a GPU runs at once; more go in parts.

        Raises:
            InvalidArtifact: The bytes are not an ONNX model, or not one of ours; says why.
            DeviceUnavailable: ``device`` is ``cuda`` and CUDA cannot be used.
        """
        digest.check(data)
        runner: Pair | Buckets
        if device == "cuda":
            runner = Buckets(lambda: sessions.open_session(data, device), largest_batch, GPU_LANES)
        else:
            runner = Pair(lambda cores: sessions.open_session(data, device, cores), threads, largest_batch)
        try:
            metadata = sessions.read_metadata(runner.first)
            shape = sessions.check_signature(runner.first, metadata)
        except UnicodeDecodeError:
            raise InvalidArtifact("its metadata, or a name in its graph, is not UTF-8; export it again") from None
        return cls(runner, metadata, shape, hashlib.sha256(data).hexdigest())

    @property
    def lanes(self) -> int:
        """How many batches are best run at once."""
        return self._runner.lanes

    @property
    def batch_sizes(self) -> list[int]:
        """Numbers of images that are to be run once before the first request."""
        return self._runner.sizes

    def run(self, batch: NDArray[np.uint8], *, alone: bool = False) -> Outputs:
        """Classify a batch ``uint8 [N, H, W, C]``; ``alone`` when no other run is likely to want the cores."""
        probabilities, logits, *features = self._runner.run(self._names, batch, self._options, alone=alone)
        familiarity = self.familiarity.score(features) if self.familiarity else None
        outputs = Outputs(probabilities, logits, tuple(features), familiarity)
        self.observe(outputs)
        return outputs

    def observe(self, outputs: Outputs) -> None:
        """Count images among the latest, where drift is watched; :meth:`run` does so itself."""
        if outputs.familiarity is not None and self.drift is not None:
            self.drift.observe(outputs.familiarity, outputs.logits[:, 0])

    def run_with_maps(self, batch: NDArray[np.uint8]) -> Explained:
        """Classify a batch, and fetch what the branches pool as well.

        Raises:
            InvalidParameter: The artifact carries no maps.
        """
        self.require_maps()
        results = self._runner.run([*self._names, *self._maps], batch, self._options)
        probabilities, logits, *features = results[: len(self._names)]
        return Outputs(probabilities, logits, tuple(features)), tuple(results[len(self._names) :])

    def require_head(self) -> Head:
        """Return the head.

        Raises:
            InvalidParameter: The artifact carries none, so that its logits cannot be explained.
        """
        if self.head is None:
            raise InvalidParameter(NO_HEAD)
        return self.head

    def require_maps(self) -> None:
        """See that the model can be explained by maps.

        Raises:
            InvalidParameter: The artifact carries no maps.
        """
        if not self.has_maps:
            raise InvalidParameter(NO_MAPS)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run once per batch size, so that no request pays for it, and check what is answered.

        Raises:
            InvalidArtifact: The model fails, or does not pass what :mod:`app.selfcheck` checks.
        """
        try:
            self._warm_up(batch_sizes)
        except InvalidArtifact:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the graph does wrong, it does it here first
            raise InvalidArtifact(f"it does not run: {first_line(error)}") from None

    def _warm_up(self, batch_sizes: Sequence[int]) -> None:
        self.head = self._read_head()
        batches = [selfcheck.noise(size, self.shape) for size in batch_sizes]
        answers = [self.run(batch, alone=alone) for batch in batches for alone in self._runner.ways]
        selfcheck.check_probe(self.metadata, self.shape, lambda batch: self.run(batch).probabilities)
        selfcheck.check_answers(answers, self.head)
        single = selfcheck.noise(1, self.shape)
        if self.has_maps:
            selfcheck.check_maps(self.metadata, self.shape, self.run_with_maps(single))
        if self._runner.runs_in_caller:
            self.run_s = min(self._time(single) for _ in range(_TIMED_RUNS))
        if (statistics := self.metadata.statistics) is not None:
            self.drift = Drift([JOINT, *statistics.branches], statistics.held_out)

    def _time(self, batch: NDArray[np.uint8]) -> float:
        start = time.monotonic()
        self.run(batch)
        return time.monotonic() - start

    def _read_head(self) -> Head | None:
        """Fetch the constants of the head, which the graph carries as outputs."""
        if not {KERNEL, BIAS} <= {output.name for output in self._runner.first.get_outputs()}:
            return None
        kernel, bias = self._runner.run([KERNEL, BIAS], np.zeros((1, *self.shape), np.uint8), self._options)
        return Head(kernel, bias)
