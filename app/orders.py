"""What operators want to be done with models: carried out in one process, and passed on to the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from app.errors import InvalidArtifact, ModelNotFound, MultipoolError, NothingToServe
from app.repository import Repository
from app.watching import Watcher

_LOADS_AT_ONCE = 2

log = logging.getLogger(__name__)


class Order(NamedTuple):
    """What an operator wants to be done with a model."""

    action: Literal["load", "unload"]
    model: str
    given_s: float = 0
    """When the worker that received it had carried it out (monotonic clock, shared by all processes); the latest order
    wins."""


class Orders:
    """Carries out orders in one process."""

    def __init__(self, repository: Repository, watcher: Watcher) -> None:
        self.tell_others: Callable[[Order], None] = lambda _: None
        """Passes an order on to the other workers."""
        self.loads = ThreadPoolExecutor(_LOADS_AT_ONCE, "load")
        """For orders to load: the threads that requests share are not to wait for them all."""
        self._repository = repository
        self._watcher = watcher

    def load(self, name: str, holds: Callable[[], bool] = lambda: True) -> None:
        """Load what is new in the folder of a model, and serve it again if it was unloaded; blocks.

        Args:
            name: Of the model.
            holds: Whether it is still to be served when it has been loaded, which may take minutes.

        Raises:
            ModelNotFound: There is no such folder, or none with a model in it.
            InvalidArtifact: Its highest version is refused; the one before, if any, is served all the same.
            NotReady: Its highest version has to be loaded again, and cannot be.
        """
        try:
            self._watcher.look(name)
        except NothingToServe as error:
            raise ModelNotFound(str(error)) from None
        versions = [entry for entry in self._repository.entries() if entry.name == name]
        if not versions:
            raise ModelNotFound(f"there is no model {name[:80]!r} in the model repository, or none that can be read")
        if not holds():
            return
        self._repository.serve_again(name)
        highest = versions[-1]
        if highest.refused:
            served = self._repository.served.get(name)
            rest = f"version {served.number} is" if served is not None and not served.is_lost else "no version of it is"
            raise InvalidArtifact(f"{highest.reference} is refused: {highest.refused}; {rest} served")

    def obey(self, order: Order, holds: Callable[[], bool] = lambda: True) -> None:
        """Do what an operator told another worker, as far as it still holds; blocks."""
        try:
            if order.action == "unload":
                self._repository.unload(order.model, to_come=True)
            else:
                self._load_too(order.model, holds)
        except (MultipoolError, OSError) as error:  # the next order may go well
            log.error("%s %s: %s", order.action, order.model, error)  # noqa: TRY400  # a line for the operator

    def _load_too(self, name: str, holds: Callable[[], bool]) -> None:
        try:
            self.load(name, holds)
        except ModelNotFound:
            if holds():
                self._repository.serve_again(name)  # should it come back, as in the worker that has loaded it
            raise
