"""A small image into a small network is done where it arrived; nothing else is, and connections get their turn."""

import asyncio
import threading
import zlib
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest

from app.classification import Classifier
from app.errors import UndecodableImage
from app.shortcut import Shortcut
from app.upload import Upload
from tests import toys


@pytest.fixture
def model():
    """A toy that was seen to be quick."""
    loaded = toys.load(toys.proto())
    loaded.warm_up([1, 2])
    loaded.run_s = 0.0001  # whatever the machine is busy with
    return loaded


def with_text(image):
    """Put compressed text into a PNG, as much as a megabyte of it unpacked."""
    text = b"zTXt" + b"k\0\0" + zlib.compress(bytes(1_000_000))
    chunk = (len(text) - 4).to_bytes(4) + text + zlib.crc32(text).to_bytes(4)
    return Upload(image.data[:33] + chunk + image.data[33:])


def noise(side, kind="PNG"):
    return Upload(toys.save(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8), kind))


def run(scenario, **options):
    async def main():
        settings = {"threads": 2, "max_pixels": 1_000_000, "max_batch_size": 4, "max_batch_delay_s": 0}
        classifier = Classifier(**{**settings, **options})
        try:
            return await asyncio.wait_for(scenario(classifier), 30)
        finally:
            classifier.close()

    return asyncio.run(main())


@contextmanager
def seeing_where(model):
    """Note where each result is computed; tells of an answer which way it went."""
    compute, at_once = model.run, []

    def noting(batch, **options):
        result = compute(batch, **options)
        at_once.extend([result] * (threading.current_thread() is threading.main_thread()))
        return result

    model.run = noting
    yield lambda answer: "at once" if any(answer.result is result for result in at_once) else "thread"
    model.run = compute


def ways(model, *uploads, **options):
    """How each of the images went, all sent at once."""

    async def scenario(classifier):
        return await asyncio.gather(*(classifier.classify(model, [upload]) for upload in uploads))

    with seeing_where(model) as way:
        return [way(answer) for (answer,) in run(scenario, **options)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_small_image_is_done_at_once(model, kind):
    assert ways(model, noise(16, kind)) == ["at once"]


@pytest.mark.parametrize(
    "upload",
    [
        pytest.param(Upload(toys.plain(200, (400, 400))), id="many pixels in few bytes"),
        pytest.param(noise(120), id="many bytes"),
        pytest.param(noise(16, "WEBP"), id="another format"),
        pytest.param(with_text(noise(16)), id="packed text"),
    ],
)
def test_what_might_take_long_goes_to_a_thread(model, upload):
    assert ways(model, upload) == ["thread"]


def test_a_slow_model_keeps_to_its_threads(model):
    model.run_s = 0.01

    assert ways(model, noise(16)) == ["thread"]


def test_a_model_of_unknown_speed_keeps_to_its_threads():
    assert ways(toys.load(toys.proto()), noise(16)) == ["thread"]


def test_who_wants_images_to_wait_for_each_other_has_them_wait(model):
    assert ways(model, noise(16), max_batch_delay_s=0.001) == ["thread"]


def test_a_crowd_gets_all_cores_where_that_is_worth_a_hop(model):
    model.run_s = 0.0005
    large = Upload(toys.plain(200, (400, 400)))

    assert ways(model, noise(16), large, noise(16)) == ["at once", "thread", "thread"]


def test_so_do_several_images_of_one_request(model):
    model.run_s = 0.0005

    async def scenario(classifier):
        return await classifier.classify(model, [noise(16), noise(16)])

    with seeing_where(model) as way:
        assert [way(answer) for answer in run(scenario)] == ["thread", "thread"]


def test_a_quick_image_goes_before_those_in_threads(model):
    large = Upload(toys.plain(200, (400, 400)))

    assert ways(model, large, noise(16)) == ["thread", "at once"]


def test_both_ways_give_the_same_answer(model):
    upload = noise(16)

    async def scenario(classifier):
        model.run_s = 0.0001
        (short,) = await classifier.classify(model, [upload])
        model.run_s = 1
        (long,) = await classifier.classify(model, [upload])
        return short, long

    with seeing_where(model) as way:
        short, long = run(scenario)

    assert (way(short), way(long)) == ("at once", "thread")
    assert np.array_equal(short.result.logits[short.row], long.result.logits[long.row])


def test_a_small_damaged_image_is_refused(model):
    broken = Upload(noise(16).data[:100])

    async def scenario(classifier):
        return await classifier.classify(model, [broken])

    (answer,) = run(scenario)

    assert isinstance(answer, UndecodableImage)


def test_connections_get_their_turn_between_quick_images(model):
    upload, turns = noise(16), 0

    async def scenario(classifier):
        async def be_a_connection():
            nonlocal turns
            while True:
                await asyncio.sleep(0.0001)
                turns += 1

        connection = asyncio.create_task(be_a_connection())
        answers = await asyncio.gather(*(classifier.classify(model, [upload]) for _ in range(500)))
        connection.cancel()
        return answers

    with seeing_where(model) as way:
        answers = run(scenario)

    assert {way(answer) for (answer,) in answers} == {"at once"}
    (first,), (last,) = answers[0], answers[-1]
    assert first.queued_s < last.queued_s  # who waits for a turn is told so
    assert turns >= 5  # all of them together take ten times as long as the event loop may be kept


def test_who_goes_while_waiting_holds_up_nobody(model):
    upload = noise(16)

    async def scenario(classifier):
        tasks = [asyncio.create_task(classifier.classify(model, [upload])) for _ in range(200)]
        await asyncio.sleep(0)
        for task in tasks[1::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run(scenario)

    assert all(isinstance(answer, list) for answer in answers[::2])
    assert any(isinstance(answer, asyncio.CancelledError) for answer in answers[1::2])


def test_quick_images_are_answered_in_the_order_they_came(model):
    upload, order = noise(16), []

    async def scenario(classifier):
        async def ask(number):
            await classifier.classify(model, [upload])
            order.append(number)

        await asyncio.gather(*(ask(number) for number in range(100)))

    run(scenario)

    assert order == list(range(100))


def test_a_cheap_image_does_not_let_all_that_wait_go_at_once():
    turn, done = 0, Counter()

    async def scenario():
        nonlocal turn
        shortcut = Shortcut()

        async def take(seconds):
            if not shortcut.is_open():
                await shortcut.turn()
            shortcut.spend(seconds)
            done[turn] += seconds > 0.001

        tasks = [asyncio.create_task(take(seconds)) for seconds in (0.005, 0.000_001, *[0.005] * 30)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            turn += 1

    asyncio.run(asyncio.wait_for(scenario(), 30))

    assert done.total() == 31
    assert max(done.values()) <= 2
