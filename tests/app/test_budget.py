"""What is large waits until there is room for it."""

import threading

from app.budget import Budget


def takes(budget, amount):
    """Take so much in a thread; returns what says that it has it, and what has it given back."""
    has, enough = threading.Event(), threading.Event()

    def work():
        with budget.take(amount):
            has.set()
            enough.wait(10)

    threading.Thread(target=work, daemon=True).start()
    return has, enough


def test_what_does_not_fit_waits_until_it_does():
    budget = Budget(10)
    first, first_done = takes(budget, 6)
    assert first.wait(10)
    second, second_done = takes(budget, 5)

    assert not second.wait(0.2)
    first_done.set()
    assert second.wait(10)
    second_done.set()


def test_what_fits_beside_others_does_not_wait():
    budget = Budget(10)
    takers = [takes(budget, 5), takes(budget, 5)]

    assert all(has.wait(10) for has, _ in takers)
    for _, enough in takers:
        enough.set()


def test_what_exceeds_the_whole_gets_the_whole():
    budget = Budget(10)
    has, enough = takes(budget, 1000)
    assert has.wait(10)
    other, done = takes(budget, 1)

    assert not other.wait(0.2)
    enough.set()
    assert other.wait(10)
    done.set()


def test_all_that_fit_go_on_when_room_is_made():
    budget = Budget(10)
    first, first_done = takes(budget, 10)
    assert first.wait(10)
    others = [takes(budget, 5), takes(budget, 5)]
    assert not any(has.wait(0.1) for has, _ in others)

    first_done.set()

    assert all(has.wait(10) for has, _ in others)
    for _, enough in others:
        enough.set()
