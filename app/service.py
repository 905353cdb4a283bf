"""What the routes use: the settings, the models and the classifier of one process."""

from __future__ import annotations

from dataclasses import dataclass

from app.admission import Admission
from app.apikeys import Keys
from app.classification import Classifier
from app.errors import Draining, NotReady, Unavailable
from app.metrics import Metrics
from app.orders import Orders
from app.repository import Repository
from app.settings import Settings
from app.watching import Watcher


@dataclass
class Service:
    """The state of one process."""

    settings: Settings
    repository: Repository
    admission: Admission
    classifier: Classifier
    watcher: Watcher
    orders: Orders
    keys: Keys
    metrics: Metrics
    draining: bool = False
    """Whether the process has been told to stop; no lock, because a signal may come while another is handled."""

    def why_not_ready(self) -> Unavailable | None:
        """Say why ``/readyz`` does not answer 200; None where it does."""
        if not self.repository.ready:
            return NotReady(self.repository.reason)
        if self.draining:
            return Draining("the service is shutting down")
        served = self.repository.served
        answers = any(not entry.is_lost for entry in served)
        return None if answers else NotReady(served.why_none_answers())
