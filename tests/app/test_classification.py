"""Several files of one request: answered together, and none goes on when the request has failed."""

import asyncio
import gc
import threading
import weakref

import pytest

from app.classification import Classifier
from app.upload import Upload
from tests import toys


def test_a_request_that_fails_leaves_none_of_its_images_at_work():
    model = toys.load(toys.proto())
    model.warm_up([1])
    model.run_s = 1  # through threads
    gate, runs = threading.Event(), 0

    def fail(*_, **__):
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("the first one fails")
        gate.wait(10)  # whatever began beside it
        raise RuntimeError("so does that")

    async def scenario():
        classifier = Classifier(threads=1, max_pixels=10_000, max_batch_size=1, max_batch_delay_s=0)
        try:
            model.run = fail
            with pytest.raises(RuntimeError, match="the first one fails"):
                await classifier.classify(model, [Upload(toys.plain(value)) for value in range(20)])
            gate.set()
            await classifier._threads.run(int)  # after all that waited
        finally:
            gate.set()
            classifier.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))

    assert runs <= 2


@pytest.mark.parametrize("way", ["classify", "explain"])
def test_a_client_that_leaves_while_its_image_waits_for_a_thread_holds_no_memory(way):
    """Else uploads that nobody counts any more would pile up behind slow images."""
    model = toys.load(toys.proto())
    model.warm_up([1])
    model.run_s = 1  # through threads
    gate, busy = threading.Event(), threading.Event()

    async def scenario():
        classifier = Classifier(threads=1, max_pixels=10_000, max_batch_size=1, max_batch_delay_s=0)
        try:
            classifier._threads.submit(lambda: (busy.set(), gate.wait(10)))
            assert await asyncio.to_thread(busy.wait, 10)
            upload = Upload(toys.plain(1))
            held = weakref.ref(upload)
            work = classifier.classify(model, [upload]) if way == "classify" else classifier.explain(model, upload)
            leaves = asyncio.create_task(work)
            await asyncio.sleep(0.01)
            leaves.cancel()
            await asyncio.wait([leaves])
            del upload, work, leaves
            gc.collect()
            return held()
        finally:
            gate.set()
            classifier.close()

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) is None
