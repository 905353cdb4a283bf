"""The threads that images are decoded and run in."""

import asyncio
import threading
from contextlib import closing

import pytest

from app.threads import Threads


@pytest.fixture
def threads():
    with closing(Threads(2, "test")) as both:
        yield both


def wait_for(event):
    assert event.wait(10)


def test_all_threads_work_at_once(threads):
    meeting = threading.Barrier(3, timeout=10)

    for _ in range(2):
        threads.submit(meeting.wait)

    meeting.wait()


def test_calls_are_done_in_order():
    done, last = [], threading.Event()

    with closing(Threads(1, "test")) as alone:
        for number in range(1000):
            alone.submit(lambda number=number: done.append(number))
        alone.submit(last.set)
        wait_for(last)

    assert done == list(range(1000))


def test_there_are_never_more_than_there_are_to_be(threads):
    seen, last = set(), threading.Event()

    for _ in range(200):
        threads.submit(lambda: seen.add(threading.current_thread().name))
    threads.submit(last.set)
    wait_for(last)

    assert len(seen) <= 2


@pytest.mark.parametrize("failure", [ZeroDivisionError, asyncio.CancelledError, SystemExit])
def test_a_call_that_fails_takes_no_thread_with_it(threads, caplog, failure):
    meeting = threading.Barrier(3, timeout=10)

    def fail():
        raise failure

    for _ in range(8):
        threads.submit(fail)
    for _ in range(2):
        threads.submit(meeting.wait)

    meeting.wait()
    assert failure.__name__ in caplog.text


def refuse(_):
    raise RuntimeError("can't start new thread")


def test_where_no_more_threads_can_be_had_those_there_are_do_the_work_again_and_again(threads, monkeypatch):
    for _ in range(5):
        begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
        threads.submit(lambda begun=begun, go_on=go_on: (begun.set(), wait_for(go_on)))
        wait_for(begun)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        threads.submit(done.set)
        go_on.set()

        wait_for(done)


def test_where_no_thread_can_be_had_it_is_said_until_one_can(monkeypatch):
    done = threading.Event()
    with closing(Threads(1, "test")) as alone:
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    alone.submit(lambda: pytest.fail("it was refused"))
        alone.submit(done.set)

        wait_for(done)


def test_closing_drops_what_waits():
    go_on, begun, done = threading.Event(), threading.Event(), []
    alone = Threads(1, "closing")

    alone.submit(lambda: (begun.set(), wait_for(go_on)))
    alone.submit(lambda: done.append("waited"))
    wait_for(begun)
    alone.close()
    with pytest.raises(RuntimeError, match="closed"):
        alone.submit(lambda: done.append("came later"))
    (thread,) = (one for one in threading.enumerate() if one.name.startswith("closing"))  # it ends soon
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()

    assert not done
