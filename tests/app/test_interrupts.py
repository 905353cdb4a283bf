"""An interrupt waits until modules are imported, and is not lost."""

import signal

import pytest

from app.interrupts import held


def test_an_interrupt_comes_after_the_imports():
    imported = []

    def importing():
        with held():
            signal.raise_signal(signal.SIGINT)
            imported.append("whole")
        imported.append("more")

    with pytest.raises(KeyboardInterrupt):
        importing()

    assert imported == ["whole"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in the background
    try:
        with held():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
