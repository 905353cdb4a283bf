"""Several files of one request: answered together, and none goes on when the request has failed."""

import asyncio
import gc
import threading
import weakref

import pytest

from app.classification import Classifier
from app.errors import InvalidRequest, UndecodableImage
from app.upload import Upload
from tests import toys


async def its_threads_are_free(classifier):
    """Wait until all that was handed to its threads so far is done."""
    done = threading.Event()
    classifier._threads.submit(done.set)
    assert await asyncio.to_thread(done.wait, 10)


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
            await its_threads_are_free(classifier)
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


def held_after_failing(model, images, way, error):
    """The uploads that are still in memory when a request with them has failed, and Python collects no garbage."""

    async def scenario():
        classifier = Classifier(threads=1, max_pixels=10_000, max_batch_size=8, max_batch_delay_s=0)
        try:
            uploads = [Upload(image) for image in images]
            held = [weakref.ref(upload) for upload in uploads]
            if way == "explain":
                with pytest.raises(error):
                    await classifier.explain(model, uploads[0])
            elif issubclass(error, InvalidRequest):
                found = await classifier.classify(model, uploads)
                assert [type(one) for one in found] == [error] * len(images)
                assert not any(one.__traceback__ for one in found)  # on Python 3.13, its frames hold the answers
                del found
            else:
                with pytest.raises(error):
                    await classifier.classify(model, uploads)
            del uploads
            await its_threads_are_free(classifier)
            await asyncio.sleep(0.01)  # Python 3.14 holds what a task has waited for until it waits again
            return [upload() for upload in held if upload() is not None]
        finally:
            classifier.close()

    gc.disable()
    try:
        return asyncio.run(asyncio.wait_for(scenario(), 30))
    finally:
        gc.enable()


@pytest.mark.parametrize(("way", "count"), [("classify", 1), ("classify", 3), ("explain", 1)])
def test_an_image_that_cannot_be_used_is_not_held_by_its_error(way, count):
    """Else a crowd of them fills the memory until Python collects its garbage."""
    model = toys.load(toys.proto())
    model.warm_up([1])
    model.run_s = 1  # through threads

    assert held_after_failing(model, [toys.plain(1)[:40]] * count, way, UndecodableImage) == []


@pytest.mark.parametrize(("way", "count"), [("classify", 1), ("classify", 3), ("explain", 1)])
def test_nor_is_one_whose_model_fails(way, count):
    model = toys.load(toys.proto())
    model.warm_up([1])
    model.run_s = 1  # through threads

    def fail(*_, **__):
        raise RuntimeError("it fails")

    model.run = model.run_with_maps = fail

    assert held_after_failing(model, [toys.plain(1)] * count, way, RuntimeError) == []
