"""Every image is answered once, with its own answer, whoever else comes, goes or fails."""

import asyncio
import gc
import threading
import time
import weakref
from contextlib import closing, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching import Batcher
from app.threads import Threads


class Recorder:
    """A model that returns its batch, notes the sizes it saw, and can be held up or made to fail."""

    def __init__(self, fail_on=frozenset()):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.inside = 0
        self._lock = threading.Lock()
        self._fail_on = fail_on

    def __call__(self, batch):
        with self._lock:
            self.inside += 1
        self.gate.wait(10)
        self.batches.append(batch[:, 0].tolist())
        if self._fail_on & set(self.batches[-1]):
            raise RuntimeError("the model failed")
        return batch


def image(number):
    """What prepares the image of that number."""
    return lambda: np.array([number])


def run(scenario, model, threads=10, **options):
    """Run a scenario with a batcher over the model."""

    async def main():
        with closing(Threads(threads, "test")) as at_hand:
            return await asyncio.wait_for(scenario(Batcher(model, at_hand, **options)), 30)

    return asyncio.run(main())


async def until(condition):
    """Let the threads work until it holds, however long that takes them."""
    while not condition():
        await asyncio.sleep(0.001)


def number_of(answer):
    return int(answer.result[answer.row, 0])


def test_a_lone_image_goes_out_at_once():
    async def scenario(batcher):
        began = time.monotonic()
        return await batcher.submit(image(5)), time.monotonic() - began

    answer, took = run(scenario, Recorder())

    assert number_of(answer) == 5
    assert 0 <= answer.queued_s <= took
    assert answer.decoded_s >= 0
    assert answer.ran_s >= 0


def test_images_that_wait_together_run_together_in_order():
    model = Recorder()

    async def scenario(batcher):
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(image(0)))
        await until(lambda: model.inside)
        others = []
        for number in range(1, 8):
            others.append(asyncio.create_task(batcher.submit(image(number))))
            await until(lambda number=number: len(batcher._queue) == number)
        model.gate.set()
        return await asyncio.gather(first, *others)

    answers = run(scenario, model, max_batch_size=4)

    assert [number_of(answer) for answer in answers] == list(range(8))
    first, *others = model.batches
    assert first == [0]
    assert [len(batch) for batch in others] == [4, 3]


def test_as_many_batches_run_at_once_as_there_are_lanes():
    model = Recorder()

    async def scenario(batcher):
        model.gate.clear()
        tasks = []
        for number in range(6):
            tasks.append(asyncio.create_task(batcher.submit(image(number))))
            # Not their sum: what is queued for a moment only would be taken together with the next one.
            expected = min(number + 1, 3), max(number - 2, 0)
            await until(lambda expected=expected: (model.inside, len(batcher._queue)) == expected)
        model.gate.set()
        await asyncio.gather(*tasks)

    run(scenario, model, lanes=3)

    assert sorted(model.batches) == [[0], [1], [2], [3, 4, 5]]


def test_an_image_that_cannot_be_prepared_fails_alone():
    def broken():
        raise ValueError("not an image")

    async def scenario(batcher):
        return await asyncio.gather(
            batcher.submit(image(0)), batcher.submit(broken), batcher.submit(image(2)), return_exceptions=True
        )

    first, second, third = run(scenario, Recorder())

    assert number_of(first) == 0
    assert isinstance(second, ValueError)
    assert number_of(third) == 2


def test_who_leaves_before_a_thread_is_free_is_not_even_decoded():
    model, prepared = Recorder(), []

    def noted():
        prepared.append(1)
        return np.array([1])

    async def scenario(batcher):
        model.gate.clear()
        running = asyncio.create_task(batcher.submit(image(0)))
        await until(lambda: model.inside)
        gone = asyncio.create_task(batcher.submit(noted))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        await running

    run(scenario, model, threads=1)

    assert prepared == []


def test_a_delay_lets_a_batch_fill():
    model = Recorder()

    async def scenario(batcher):
        first = asyncio.create_task(batcher.submit(image(0)))
        await until(lambda: batcher._queue)
        second = asyncio.create_task(batcher.submit(image(1)))
        await until(lambda: len(batcher._queue) == 2)
        assert not model.inside
        batcher._expire(batcher._queue[0], asyncio.get_running_loop())  # the delay of the first is over
        await asyncio.gather(first, second)

    run(scenario, model, max_delay_s=60)

    assert model.batches == [[0, 1]]


def test_who_leaves_during_the_delay_leaves_the_queue():
    """Its image is not kept until others come."""
    images = []

    def prepare():
        made = np.array([0])
        images.append(weakref.ref(made))
        return made

    async def scenario(batcher):
        task = asyncio.create_task(batcher.submit(prepare))
        while not images:
            await asyncio.sleep(0.001)
        task.cancel()
        while images[0]() is not None:  # for as long as a scenario may take
            await asyncio.sleep(0.01)

    run(scenario, Recorder(), max_delay_s=0.1)


def test_a_full_batch_does_not_wait_for_the_delay():
    model = Recorder()

    async def scenario(batcher):
        await asyncio.gather(*(batcher.submit(image(i)) for i in range(2)))

    run(scenario, model, max_delay_s=60, max_batch_size=2)

    assert [sorted(batch) for batch in model.batches] == [[0, 1]]


def test_who_has_gone_is_not_run():
    model = Recorder()

    async def scenario(batcher):
        model.gate.clear()
        running = asyncio.create_task(batcher.submit(image(0)))
        await until(lambda: model.inside)
        gone, stays = (asyncio.create_task(batcher.submit(image(i))) for i in (1, 2))
        await until(lambda: len(batcher._queue) == 2)
        gone.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return await asyncio.gather(running, stays)

    answers = run(scenario, model)

    assert [number_of(answer) for answer in answers] == [0, 2]
    assert model.batches == [[0], [2]]


def test_a_caller_who_leaves_while_its_batch_runs_hurts_nobody():
    model = Recorder()

    async def scenario(batcher):
        model.gate.clear()
        leaves, stays = (asyncio.create_task(batcher.submit(image(i))) for i in range(2))
        await until(lambda: model.inside)  # both, as a batch of two
        leaves.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return await stays

    assert number_of(run(scenario, model, max_batch_size=2, max_delay_s=20)) == 1
    assert [sorted(batch) for batch in model.batches] == [[0, 1]]


def test_a_failure_reaches_who_stayed_also_when_another_of_the_batch_has_left():
    model = Recorder(fail_on={0})

    async def scenario(batcher):
        model.gate.clear()
        leaves = asyncio.create_task(batcher.submit(image(0)))
        while not batcher._queue:
            await asyncio.sleep(0.001)
        stays = asyncio.create_task(batcher.submit(image(1)))  # fills the batch, behind the other
        while not model.inside:
            await asyncio.sleep(0.001)
        leaves.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        with pytest.raises(RuntimeError, match="the model failed"):
            await asyncio.wait_for(stays, 10)

    run(scenario, model, max_batch_size=2, max_delay_s=20)


def test_each_stage_of_the_way_is_timed():
    model = Recorder()

    def slowly():
        time.sleep(0.05)
        return np.array([0])

    async def scenario(batcher):
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(slowly))
        while not model.inside:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(batcher.submit(image(1)))  # for which no thread is free
        await asyncio.sleep(0)  # by when it waits
        await asyncio.sleep(0.1)
        model.gate.set()
        return await asyncio.gather(first, second)

    first, second = run(scenario, model, threads=1)

    assert first.decoded_s > 0.04
    assert first.ran_s > 0.09
    assert second.queued_s > 0.09


def test_a_batch_that_cannot_be_started_fails_alone(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    async def main():
        with closing(Threads(1, "test")) as threads:
            batcher = Batcher(Recorder(), threads)
            with monkeypatch.context() as full:
                full.setattr(threading.Thread, "start", refuse)
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await batcher.submit(image(0))
            return await asyncio.wait_for(batcher.submit(image(1)), 10)

    assert number_of(asyncio.run(main())) == 1


def test_a_failure_reaches_its_own_batch_alone():
    model = Recorder(fail_on={0})

    async def scenario(batcher):
        with pytest.raises(RuntimeError, match="the model failed"):
            await batcher.submit(image(0))
        return await batcher.submit(image(1))

    assert number_of(run(scenario, model)) == 1


@given(
    arrivals=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    cancelled=st.sets(st.integers(0, 39)),
    failing=st.sets(st.integers(0, 39), max_size=3),
    max_batch_size=st.integers(1, 8),
    max_delay_ms=st.sampled_from([0, 0, 1]),
    lanes=st.integers(1, 3),
    threads=st.integers(1, 4),
)
@settings(max_examples=60)
def test_every_image_is_answered_exactly_once(
    *, arrivals, cancelled, failing, max_batch_size, max_delay_ms, lanes, threads
):
    model = Recorder(fail_on=failing)

    async def scenario(batcher):
        tasks = []
        for number, pause in enumerate(arrivals):
            tasks.append(asyncio.create_task(batcher.submit(image(number))))
            await asyncio.sleep(pause / 2000)
            if number in cancelled:
                tasks[-1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    limits = {"max_batch_size": max_batch_size, "max_delay_s": max_delay_ms / 1000, "lanes": lanes}
    answers = run(scenario, model, threads, **limits)

    ran = [number for batch in model.batches for number in batch]
    assert len(ran) == len(set(ran))
    assert all(len(batch) <= max_batch_size for batch in model.batches)
    spoiled = {number for batch in model.batches if failing & set(batch) for number in batch}
    for number, answer in enumerate(answers):
        if isinstance(answer, asyncio.CancelledError):
            assert number in cancelled
        elif isinstance(answer, RuntimeError):
            assert number in spoiled
        else:
            assert number_of(answer) == number
            assert number in ran


def test_an_image_whose_caller_has_gone_is_held_by_nobody():
    class Prepares:
        def image(self):
            return np.array([1])

    async def scenario(batcher):
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(image(0)))
        while not model.inside:
            await asyncio.sleep(0.001)
        upload = Prepares()
        second, seen = asyncio.create_task(batcher.submit(upload.image)), weakref.ref(upload)
        await asyncio.sleep(0)
        second.cancel()
        with suppress(asyncio.CancelledError):
            await second
        del upload, second
        await asyncio.sleep(0)  # the exception is still on its way
        gc.collect()
        held = seen() is not None
        model.gate.set()
        await first
        return held

    model = Recorder()
    gc.collect()  # what other tests have left may take longer than a scenario may

    assert not run(scenario, model, threads=1)
