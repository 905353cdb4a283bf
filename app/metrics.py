"""What the service counts. Cheap enough for every request: a few additions, no locks, no library.

What is counted is counted in the event loop alone. Several workers tell each other what they have counted, so that
each of them can answer for all; :mod:`app.exposition` writes it as Prometheus reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

Labels = tuple[str, ...]
Row = list[float]
Snapshot = dict[str, dict[Labels, Row]]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of every histogram."""

_UNRUN = ("read", "total")
"""Stages of a request none of whose images is run."""


class Counter:
    """Counts by labels."""

    def __init__(self) -> None:
        self.rows: dict[Labels, Row] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """Count one more, or several."""
        row = self.rows.get(labels)
        if row is None:
            row = self.rows[labels] = [0.0]
        row[0] += by


class Histogram:
    """Counts by labels how long things take: one cell per bucket, one above the last, and the sum."""

    def __init__(self) -> None:
        self.rows: dict[Labels, Row] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count one."""
        row = self.rows.get(labels)
        if row is None:
            row = self.rows[labels] = [0.0] * (len(SECONDS) + 2)
        row[bisect_left(SECONDS, seconds)] += 1
        row[-1] += seconds


class Metrics:
    """All that one process counts. The names are those of the series, without the prefix."""

    def __init__(self) -> None:
        self.requests = Counter()
        """By route, method and status."""
        self.request_seconds = Histogram()
        """By route."""
        self.stage_seconds = Histogram()
        """By stage, those of ``Server-Timing``."""
        self.problems = Counter()
        """By code: whatever was refused or failed, and every bad file of a batch request."""
        self.batches = Counter()
        """By model and version; an image that is explained is one of its own."""
        self.images = Counter()
        """By model and version, explained ones too."""
        self.predictions = Counter()
        """By model, version and most probable label, however sure: remembered answers too, but no explanations.

        Who asks for an explanation has mostly asked for the prediction too.
        """
        self.cache = Counter()
        """By outcome, ``hit`` or ``miss``: images that were looked up among the remembered answers."""
        self.in_flight = 0
        self.images_in_work: Callable[[], int] = lambda: 0
        """Asked for the images that were received and not answered yet."""
        self.upload_bytes: Callable[[], int] = lambda: 0
        """Asked for the bytes of uploads that are held."""
        self.drift: Callable[[], dict[Labels, Row]] = dict
        """Asked what the latest images are like, by model, version and branch; see :func:`app.catalogue.drift`."""
        self.usage: Callable[[], Snapshot] = dict
        """Asked for what the process takes of the machine, where there are several."""
        self.others: Snapshot = {}
        """What the other workers have counted, those that have ended included, and how many workers there are."""
        self.told: Snapshot | None = None
        """What the others have been told of this worker; None where there are none."""

    def count_request(self, route: str, method: str, status: int, seconds: float, problem: str | None) -> None:
        """Count a request that was answered, or refused before the application got to see it."""
        self.requests.add(route, method, str(status))
        self.request_seconds.observe(seconds, route)
        if problem is not None:
            self.problems.add(problem)

    def count_prediction(
        self, model: str, version: int, *, images: int, batches: int, labels: Iterable[str], stages: Mapping[str, float]
    ) -> None:
        """Count what one request had classified and was answered, and the seconds that its stages took.

        Where none of its images was run, being remembered or of no use, the stages of a run are not counted as zeros.
        """
        key = (model, str(version))
        self.images.add(*key, by=images)
        self.batches.add(*key, by=batches)
        for label in labels:
            self.predictions.add(*key, label)
        for stage, seconds in stages.items():
            if images or stage in _UNRUN:
                self.stage_seconds.observe(seconds, stage)

    def count_cached(self, *, hits: int, misses: int) -> None:
        """Count images that were looked up among the remembered answers."""
        for outcome, images in (("hit", hits), ("miss", misses)):
            if images:
                self.cache.add(outcome, by=images)

    def snapshot(self) -> Snapshot:
        """Take down what was counted here, in a form that can be sent."""
        counted = {name: part.rows for name, part in vars(self).items() if isinstance(part, Counter | Histogram)}
        own: Snapshot = {name: {labels: list(row) for labels, row in rows.items()} for name, rows in counted.items()}
        own["in_flight"] = {(): [float(self.in_flight)]}
        own["images_in_work"] = {(): [float(self.images_in_work())]}
        own["upload_bytes"] = {(): [float(self.upload_bytes())]}
        own["drift"] = self.drift()
        return own | self.usage()

    def total(self) -> Snapshot:
        """Add up what all workers have counted.

        This worker counts only as far as the others have been told: if it dies they go on from there, so no counter
        goes backwards.
        """
        own = self.snapshot()
        if self.told is not None:
            own = {name: own[name] for name in GAUGES if name in own} | without_gauges(self.told)
        return add_up([own, self.others])


GAUGES = (
    "in_flight",
    "images_in_work",
    "upload_bytes",
    "drift",
    "process_resident_memory_bytes",
    "process_open_fds",
)
"""Readings that end with their process, unlike counts."""


def add_up(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Sum up, cell by cell."""
    total: dict[str, dict[Labels, Row]] = defaultdict(dict)
    for snapshot in snapshots:
        for name, rows in snapshot.items():
            for labels, row in rows.items():
                known = total[name].get(labels)
                total[name][labels] = list(row) if known is None else [a + b for a, b in zip(known, row, strict=True)]
    return dict(total)


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """What remains of a process that has ended."""
    return {name: rows for name, rows in snapshot.items() if name not in GAUGES}
