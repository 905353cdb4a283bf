"""From what was counted to what Prometheus reads. Imported with the first scrape, not at the start."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from itertools import accumulate

import onnxruntime as ort
from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from app import __version__
from app.drift import chance
from app.familiarity import JOINT
from app.metrics import SECONDS, Row, Snapshot
from app.service import Service

_COUNTERS = {
    "requests": (
        "Requests answered, refused ones included. 499: the client disconnected first. "
        "Route or method not read: 'other'.",
        ("route", "method", "status"),
    ),
    "problems": ("Requests, and files of batch requests, that were refused or failed.", ("code",)),
    "batches": (
        "Batches run, each explained image alone; images divided by batches is the batch size achieved.",
        ("model", "version"),
    ),
    "images": ("Images classified, explained ones included.", ("model", "version")),
    "predictions": (
        "Images answered, explained ones excepted, by the most probable label.",
        ("model", "version", "label"),
    ),
    "cache": ("Images looked up among the remembered answers.", ("outcome",)),
}
_HISTOGRAMS = {
    "request_seconds": ("From the end of a request's header to the end of its answer.", ("route",)),
    "stage_seconds": (
        "Stages of predictions and explanations, as in Server-Timing; those of a run only where there was one.",
        ("stage",),
    ),
}
_GAUGES = {
    "in_flight": "Requests being answered.",
    "images_in_work": "Images received and not answered yet: queued, being decoded, or running.",
    "upload_bytes": "Bytes of uploads that are held: being received, or of images in progress.",
}
_USAGE = {
    "process_resident_memory_bytes": "Resident memory, all workers; what they share is counted for each.",
    "process_open_fds": "Open files and connections, all workers.",
}


class _Collector:
    """Reads one service at the moment of the scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Go through all families."""
        total = self._service.metrics.total()
        for name, (help_text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(f"multipool_{name}", help_text, labels=labels)
            for values, row in total.get(name, {}).items():
                counter.add_metric(values, row[0])
            yield counter
        for name, (help_text, labels) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"multipool_{name}", help_text, labels=labels)
            for values, row in total.get(name, {}).items():
                histogram.add_metric(values, _buckets(row), row[-1])
            yield histogram
        for name, help_text in _GAUGES.items():
            yield GaugeMetricFamily(f"multipool_{name}", help_text, value=total[name][()][0])
        yield from _drift(total.get("drift", {}))
        yield from self._workers(total)
        yield from self._state()
        yield from self._models()

    def _workers(self, total: Snapshot) -> Iterator[Metric]:
        """Go through what the supervisor tells; where there is none, the one process that answers is all there is."""
        wanted = self._service.settings.workers
        yield GaugeMetricFamily("multipool_workers_wanted", "Processes that are to share the port.", value=wanted)
        alive = total.get("workers_alive", {(): [1.0]})[()][0]
        yield GaugeMetricFamily("multipool_workers_alive", "Workers that take connections.", value=alive)
        restarts = total.get("worker_restarts", {(): [0.0]})[()][0]
        help_text = "Workers that died and were to be replaced; those that were renewed do not count."
        yield CounterMetricFamily("multipool_worker_restarts", help_text, value=restarts)
        if wanted > 1:
            seconds = total["process_cpu_seconds"][()][0]
            yield CounterMetricFamily("process_cpu_seconds", "Processor time, all workers.", value=seconds)
            for name, help_text in _USAGE.items():
                yield GaugeMetricFamily(name, help_text, value=total[name][()][0])
            for (began,) in total.get("process_start_time_seconds", {}).values():
                help_text = "When the service was started, in seconds since 1970."
                yield GaugeMetricFamily("process_start_time_seconds", help_text, value=began)

    def _state(self) -> Iterator[Metric]:
        settings, repository = self._service.settings, self._service.repository
        build = GaugeMetricFamily(
            "multipool_build_info", "What is running, always 1.", labels=("version", "onnxruntime", "python")
        )
        build.add_metric((__version__, ort.__version__, platform.python_version()), 1)
        yield build
        yield GaugeMetricFamily(
            "multipool_ready", "Whether /readyz says 200.", value=self._service.why_not_ready() is None
        )
        default = repository.served.get(repository.served.reference)
        yield GaugeMetricFamily(
            "multipool_default_ready",
            "Whether requests that name no model can be answered.",
            value=default is not None and not default.is_lost,
        )
        yield GaugeMetricFamily(
            "multipool_queue_size",
            "Most images in progress at once, all workers.",
            value=settings.queue_size * settings.workers,
        )
        refused = sum(entry.refused is not None for entry in repository.entries())
        yield GaugeMetricFamily(
            "multipool_refused_versions",
            "Versions whose file on the disk was refused; the one that it replaced, if any, is served on.",
            value=refused,
        )
        yield GaugeMetricFamily(
            "multipool_unreadable_folders",
            "Folders of the model repository that cannot be read.",
            value=len(repository.folder.unreadable),
        )

    def _models(self) -> Iterator[Metric]:
        keys = ("model", "version")
        info = GaugeMetricFamily(
            "multipool_model_info",
            "What is served, and where it really runs.",
            labels=(*keys, "architecture", "execution_provider", "sha256"),
        )
        loaded = GaugeMetricFamily("multipool_model_loaded", "Whether a version is in memory.", labels=keys)
        memory = GaugeMetricFamily("multipool_model_memory_bytes", "Memory that a loaded version takes.", labels=keys)
        for entry in self._service.repository.entries():
            if self._service.repository.answers(entry):
                key, card = (entry.name, str(entry.number)), entry.known()
                info.add_metric((*key, card.metadata.architecture, card.execution_provider, card.sha256), 1)
                loaded.add_metric(key, entry.version is not None)
                memory.add_metric(key, entry.memory_bytes if entry.version is not None else 0)
        return iter((info, loaded, memory))


def _drift(rows: dict[tuple[str, ...], Row]) -> Iterator[Metric]:
    """Average over the workers, each with the number of its latest images; chance is that of all images together."""
    keys = ("model", "version")
    drift = GaugeMetricFamily(
        "multipool_feature_drift",
        "How many more of the latest images are strange than of those held out in training: 0 for as many, -0.1 for "
        "none, 0.9 for all; another mix of classes moves it a little too, see multipool_predictions_total.",
        labels=(*keys, "branch"),
    )
    allowed = GaugeMetricFamily(
        "multipool_feature_drift_chance",
        "What multipool_feature_drift exceeds less than once in a thousand times where nothing has changed.",
        labels=keys,
    )
    repeated = GaugeMetricFamily(
        "multipool_repeated_images", "The largest share of the latest images that are the same, 0 to 1.", labels=keys
    )
    for (*model, branch), (drifted, held_out, same, images) in rows.items():
        drift.add_metric((*model, branch), drifted / images)
        if branch == JOINT:  # the other branches' rows say the same
            allowed.add_metric(model, chance(held_out / images, images))
            repeated.add_metric(model, same / images)
    return iter((drift, allowed, repeated))


def _buckets(row: Row) -> list[tuple[str, float]]:
    """Turn counts per bucket into counts up to each bound."""
    return list(zip([*map(str, SECONDS), "+Inf"], accumulate(row[:-1]), strict=True))


def write(service: Service, accept: str) -> tuple[bytes, str]:
    """Write everything in the format asked for; returns it and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(service))
    if service.settings.workers == 1:  # else it would be that of the worker which happens to answer
        ProcessCollector(registry=registry)
    encode, media_type = exposition.choose_encoder(accept)
    return encode(registry), media_type
