"""``python -m benchmarks.stages``: where the time of one request goes, stage by stage, in one thread.

Each stage is called alone, many times, on a 32×32 image, so that what does not depend on the image shows; the figure is
the least of several medians. *Application* is everything between the server and the model: routing, limits, form,
queue, answer, counting and logging, with decoding and inference left out.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from unittest.mock import patch

import orjson

from app import answers, images
from app.batching import Answer
from app.classification import Classifier
from app.http.uploads import parse_one
from app.main import create_app
from app.registry.versions import Version
from app.settings import Settings
from benchmarks import comparison, wrk

_CALLS = 500
_REPEATS = 7


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__).parse_args()
    model, image = comparison.prepare("tiny")
    logging.disable()
    asyncio.run(_measure(Settings(models_dir=model.parents[2], device="cpu"), image.read_bytes()))


async def _measure(settings: Settings, data: bytes) -> None:
    async with _running(settings) as (app, state):
        version: Version = await state["service"].repository.acquire(None)
        model = version.model
        decoded = images.decode(data, model.shape)[None]
        answer = Answer(model.run(decoded), 0, 0.0, 0.0, 0.0)
        contents = {"top": None, "features": True, "explain": False, "min_confidence": 0}
        body = answers.prediction(version, answer, **contents)

        async def at_once(*_: object, **__: object) -> Answer:
            """Answer an image without decoding or running it."""
            return answer

        form, headers = wrk.form(data)
        content_type = headers["Content-Type"]
        _show("decode", lambda: images.decode(data, model.shape))
        _show("inference", lambda: model.run(decoded))
        _show("form", lambda: parse_one(form, content_type))
        _show("answer", lambda: answers.prediction(version, answer, **contents))
        _show("JSON", lambda: orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))
        for name, (sent, sent_headers) in {"raw": wrk.raw(data), "multipart": wrk.form(data)}.items():
            hop = await _ask(app, state, sent, sent_headers)
            with patch.object(Classifier, "_at_once", at_once):
                alone = await _ask(app, state, sent, sent_headers)
            print(f"application, {name:13} {alone:6.0f} µs   with decoding and inference {hop:6.0f} µs")


def _show(name: str, call: Callable[[], object]) -> None:
    def repeat() -> float:
        before = time.process_time()
        for _ in range(_CALLS):
            call()
        return (time.process_time() - before) / _CALLS

    repeat()
    print(f"{name:26} {1e6 * min(statistics.median(repeat() for _ in range(3)) for _ in range(_REPEATS)):6.0f} µs")


async def _ask(app: Callable[..., Awaitable[None]], state: dict, body: bytes, headers: dict[str, str]) -> float:
    """Send a request through the application, as the server would; returns microseconds of processor time."""
    length = (b"content-length", str(len(body)).encode())
    pairs = [length, *((name.lower().encode(), value.encode()) for name, value in headers.items())]

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        if message.get("status", 200) != 200:
            raise SystemExit(f"answered {message['status']}")

    best = float("inf")
    for _ in range(_REPEATS):
        before = time.process_time()
        for _ in range(_CALLS):
            scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": pairs}
            await app({**scope, "http_version": "1.1", "root_path": "", "state": dict(state)}, receive, send)
        best = min(best, (time.process_time() - before) / _CALLS)
    return 1e6 * best


@asynccontextmanager
async def _running(settings: Settings):  # noqa: ANN202
    """Start the application without a server, and wait until it is ready."""
    app, state = create_app(settings), {}
    inbox: asyncio.Queue[dict] = asyncio.Queue()
    started = asyncio.Event()

    async def send(_: dict) -> None:
        started.set()

    inbox.put_nowait({"type": "lifespan.startup"})
    living = asyncio.create_task(app({"type": "lifespan", "state": state}, inbox.get, send))
    await started.wait()
    while not state["service"].repository.ready:
        await asyncio.sleep(0.01)
    try:
        yield app, state
    finally:
        inbox.put_nowait({"type": "lifespan.shutdown"})
        await living


if __name__ == "__main__":
    main()
