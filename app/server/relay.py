"""What workers tell each other through their supervisor: orders, counters, and which models can be trusted."""

from __future__ import annotations

import time
from collections.abc import Sequence

from app.metrics import Snapshot, add_up, without_gauges
from app.orders import Order
from app.server.link import Counts, Loaded
from app.server.worker import Worker


class Relay:
    """Passes on what a worker has said, and tells it to those that are started later.

    Keeps the counts of workers that have ended, so that totals never go down.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Begin with nothing said.

        Args:
            workers: Those that run; their supervisor adds to them, and takes away.
        """
        self._workers = workers
        self._orders: dict[str, Order] = {}  # the latest one for each model
        self._ended: Snapshot = {}
        self._died = 0
        self._began = time.time()
        self.trusted: frozenset[str] | None = None
        """Digests of the models that workers have loaded; None before the first one has."""

    def welcome(self, worker: Worker) -> None:
        """Tell a worker that is ready what was ordered and counted before, so that its totals do not begin at 0."""
        for order in self._orders.values():
            worker.tell(order)
        worker.tell(self._others(worker))

    def hear(self, worker: Worker, message: Loaded | Counts | Order) -> None:
        """Note what a worker says, and tell those whom it concerns."""
        if isinstance(message, Loaded):
            self.trusted = (self.trusted or frozenset()) | message.trusted
        elif isinstance(message, Counts):
            worker.counted = message.snapshot
            worker.tell(self._others(worker))
        else:
            self._pass_on(message)

    def forget(self, worker: Worker) -> None:
        """Keep of a worker that has ended what it had counted; one that never served has not died, but never lived."""
        self._ended = add_up([self._ended, without_gauges(worker.counted)])
        self._died += worker.ready and not worker.retired

    def _pass_on(self, order: Order) -> None:
        """Tell all workers of an order, the sender too, unless one that was given later has been heard before it."""
        if order.given_s < self._orders.get(order.model, order).given_s:
            return
        self._orders[order.model] = order  # also for workers that are started later
        for each in self._workers:
            if each.ready:
                each.tell(order)

    def _others(self, worker: Worker) -> Counts:
        """Add up what all but one worker have counted, how many serve and have died, and when the service began."""
        alive = sum(one.ready and not one.retired for one in self._workers)
        ours: Snapshot = {
            "workers_alive": {(): [float(alive)]},
            "worker_restarts": {(): [float(self._died)]},
            "process_start_time_seconds": {(): [self._began]},
        }
        others = (other.counted for other in self._workers if other is not worker)
        return Counts(add_up([ours, self._ended, *others]))
