"""What all workers have counted together, also those that have ended, so that totals never go down."""

from __future__ import annotations

import time
from collections.abc import Iterable

from app.metrics import Snapshot, add_up, without_gauges


class Tally:
    """Counters of the whole service, as its supervisor keeps them."""

    def __init__(self) -> None:
        self._ended: Snapshot = {}
        self._died = 0
        self._began = time.time()

    def bury(self, counted: Snapshot, *, died: bool) -> None:
        """Keep what a worker that has ended had counted."""
        self._ended = add_up([self._ended, without_gauges(counted)])
        self._died += died

    def total(self, alive: int, others: Iterable[Snapshot]) -> Snapshot:
        """Add up what workers have counted, how many serve and have died, and when the service was started.

        Args:
            alive: How many serve.
            others: What those have counted that are to be added.
        """
        ours: Snapshot = {
            "workers_alive": {(): [float(alive)]},
            "worker_restarts": {(): [float(self._died)]},
            "process_start_time_seconds": {(): [self._began]},
        }
        return add_up([ours, self._ended, *others])
