"""One version of a model: loaded, known, or refused."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

from app.drift import Drift
from app.errors import BusyProcess, InvalidParameter, MultipoolError, UnreadableArtifact
from app.explanation import NO_HEAD, NO_MAPS
from app.images import Shape
from app.metadata import Metadata
from app.model import Model
from app.registry.artifacts import Found, Stamp

_TRY_AGAIN_S = 10.0


@dataclass(frozen=True)
class Version:
    """One version of a model, loaded and warm. Who holds it can use it, whatever becomes of the repository."""

    name: str
    number: int
    model: Model

    @property
    def reference(self) -> str:
        """How requests name it."""
        return f"{self.name}:{self.number}"


@dataclass(frozen=True)
class Card:
    """What is known of a version that was loaded once, whether it still is or not."""

    metadata: Metadata
    shape: Shape
    execution_provider: str
    sha256: str
    stamp: Stamp | None
    """Of the file that was loaded."""
    has_head: bool
    has_maps: bool

    @classmethod
    def of(cls, model: Model, stamp: Stamp | None) -> Card:
        """Note what is to be known of a model when it has been let go of."""
        return cls(
            metadata=model.metadata,
            shape=model.shape,
            execution_provider=model.execution_provider,
            sha256=model.sha256,
            stamp=stamp,
            has_head=model.head is not None,
            has_maps=model.has_maps,
        )

    def require_head(self) -> None:
        """See that the model's logits can be explained; raises as :meth:`app.model.Model.require_head`."""
        if not self.has_head:
            raise InvalidParameter(NO_HEAD)

    def require_maps(self) -> None:
        """See that the model can be explained by maps; raises as :meth:`app.model.Model.require_maps`."""
        if not self.has_maps:
            raise InvalidParameter(NO_MAPS)


@dataclass(eq=False)
class Entry:
    """One version of a model, as the repository keeps it."""

    found: Found
    stamp: Stamp | None = None
    """Of the file that was loaded or refused last; each content is tried once."""
    card: Card | None = None
    version: Version | None = None
    """None while it is not in memory."""
    memory_bytes: int = 0
    used: int = 0
    """When it was asked for last, as a count of requests."""
    drift: Drift | None = None
    """Of the latest images, also of those before it was let go of; None without statistics."""
    refused: str | None = None
    """Why the file that lies there now is not served."""
    gone_until: float = 0.0
    """Until when, by the monotonic clock, what was loaded counts as gone: for good if the file refused last is another
    or is missing, and for some seconds if it cannot be read."""
    loading: asyncio.Task[Version] | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self.found.name

    @property
    def number(self) -> int:
        """The version's."""
        return self.found.number

    @property
    def reference(self) -> str:
        """How requests name it."""
        return self.found.reference

    @property
    def is_lost(self) -> bool:
        """Whether it was served and cannot answer: it is not in memory, and cannot be loaded again."""
        return self.version is None and self.refused is not None and time.monotonic() < self.gone_until

    def known(self) -> Card:
        """Return the card of a version that is served, and so was loaded once."""
        if self.card is None:
            raise LookupError(f"{self.reference} was never loaded")
        return self.card

    def accept(self, model: Model, stamp: Stamp | None, memory_bytes: int) -> None:
        """Note what was loaded, whether or not it stays in memory."""
        if self.card is not None and self.card.sha256 == model.sha256:
            model.drift = self.drift  # the same model goes on counting
        self.drift = model.drift
        self.card = Card.of(model, stamp)
        self.stamp, self.refused = stamp, None
        self.memory_bytes = memory_bytes

    def refuse(self, error: MultipoolError, stamp: Stamp | None) -> None:
        """Note why it cannot be served.

        A file that merely could not be read is tried again even if unchanged, so its stamp is not kept.
        """
        is_unreadable = isinstance(error, UnreadableArtifact)
        self.stamp, self.refused = None if is_unreadable else stamp, str(error)
        if self.card is not None and stamp != self.card.stamp:
            self.gone_until = math.inf
        elif is_unreadable and not isinstance(error, BusyProcess):
            self.gone_until = time.monotonic() + _TRY_AGAIN_S
        else:
            self.gone_until = 0.0
