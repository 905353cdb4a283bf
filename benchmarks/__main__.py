"""``make bench``: start-up, memory, and the service against the same work in one process without HTTP.

The rounds of both are interleaved, and the figures are medians: what the machine does beside is shared by both. The
limit decodes one image and runs the model on it, again and again, with as many threads as there are cores. The load
comes from Python threads on the same cores, which take most of them: the processor time per image, read from the
operating system for the service alone, is the figure to look at.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app import cores, images
from app.model import Model
from benchmarks.service import Service, ask, serving

_MODEL = "digits-regions"
_ROUNDS = 5
_SECONDS = 3.0
_STARTS = 5


def main() -> None:
    """Measure and print."""
    image = Path("examples/digit.png").read_bytes()
    count = cores.available()
    print(f"{count} cores, model {_MODEL}, image of {len(image):,} bytes\n")
    print(f"start to first answer      {statistics.median(_start_s(image) for _ in range(_STARTS)):8.2f} s")
    model = Model.load(Path(f"models/{_MODEL}/1/model.onnx").read_bytes(), "cpu", 1)
    with serving() as service:
        print(f"memory, {len(list(Path('models').iterdir()))} models loaded    {service.resident_mb():8.0f} MB\n")
        limit, alone, crowd, limit_ms, service_ms = [], [], [], [], []
        for _ in range(_ROUNDS):
            before = time.process_time()
            limit.append(_limit(model, image, count))
            limit_ms.append(1000 * (time.process_time() - before) / (limit[-1] * _SECONDS))
            alone.append(_throughput(service, image, 1))
            before = service.cpu_s()
            crowd.append(_throughput(service, image, 16))
            service_ms.append(1000 * (service.cpu_s() - before) / (crowd[-1] * _SECONDS))
        print("                            images/s   processor per image")
        median = statistics.median
        print(f"limit, in process          {median(limit):8.0f}   {median(limit_ms):8.2f} ms")
        print(f"service, 1 connection      {median(alone):8.0f}")
        print(f"service, 16 connections    {median(crowd):8.0f}   {median(service_ms):8.2f} ms")
        print(f"\nmemory after all that      {service.resident_mb():8.0f} MB")


def _start_s(image: bytes) -> float:
    start = time.monotonic()
    with serving() as service:
        ask(service.connect(), "/predict", image)
        return time.monotonic() - start


def _limit(model: Model, image: bytes, threads: int) -> float:
    """Images per second without HTTP."""

    def loop(deadline: float) -> int:
        done = 0
        while time.monotonic() < deadline:
            model.run(images.decode(image, model.shape)[None])
            done += 1
        return done

    return _per_second(loop, threads)


def _throughput(service: Service, image: bytes, connections: int) -> float:
    """Images per second over that many connections, each sending the next image when it has its answer."""

    def loop(deadline: float) -> int:
        connection = service.connect()
        done = 0
        while time.monotonic() < deadline:
            ask(connection, f"/predict?model={_MODEL}", image)
            done += 1
        return done

    return _per_second(loop, connections)


def _per_second(loop, threads: int) -> float:  # noqa: ANN001  # takes a deadline, returns a count
    deadline = time.monotonic() + _SECONDS
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(loop, [deadline] * threads)) / _SECONDS


if __name__ == "__main__":
    main()
