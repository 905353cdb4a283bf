"""An interrupt comes out as one, whatever the code that it struck made of it."""

import signal
import subprocess
import sys
import time

import pytest

from app.interrupts import noted, signal_of
from tests.conftest import ROOT

COMMAND = """
import sys
from app.interrupts import SIGNAL_CODES, noted, signal_of
try:
    with noted(*SIGNAL_CODES):
        exec("import signal; signal.raise_signal(signal.{name})")
except KeyboardInterrupt as interrupt:
    sys.exit(SIGNAL_CODES[signal_of(interrupt)])
"""


def interrupted_import():
    """What some modules do when their own imports fail, for whatever reason."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        error = ImportError("no module named 'numpy'")
        error.add_note("go on with: this")
        raise error from None


def test_an_interrupt_comes_out_as_one():
    with pytest.raises(KeyboardInterrupt) as caught, noted(signal.SIGINT):
        interrupted_import()

    assert caught.value.__notes__ == ["go on with: this"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def dropped():
    """As CPython 3.13 does while it loads an extension module."""
    dropping = "try:\n signal.raise_signal(signal.SIGINT)\n pass\nexcept KeyboardInterrupt:\n pass"
    exec(compile(dropping, "<frozen importlib._bootstrap>", "exec"))  # noqa: S102


def test_an_interrupt_that_the_import_system_drops_strikes_again():
    before = signal.getsignal(signal.SIGALRM)

    def struck():
        dropped()
        time.sleep(30)

    with pytest.raises(KeyboardInterrupt) as caught, noted(signal.SIGINT):
        struck()

    assert signal_of(caught.value) == signal.SIGINT
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_interrupt_that_was_to_strike_again_does_not_after_the_end():
    """Else the alarm would end the program."""
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))

    def fail():
        dropped()
        raise ImportError("no module named 'numpy'")

    try:
        with pytest.raises(KeyboardInterrupt), noted(signal.SIGINT):
            fail()
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert not rung


def test_other_errors_stay_what_they_are():
    with pytest.raises(ImportError), noted(signal.SIGINT):
        raise ImportError("no module named 'numpy'")


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in the background
    try:
        with noted(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_exit_code_is_that_of_the_command_wherever_it_struck(tmp_path, name, code):
    """Code in a string is what dataclasses are made of, while modules are imported."""
    (tmp_path / "command.py").write_text(COMMAND.format(name=name))

    done = subprocess.run([sys.executable, "-m", "command"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False)

    assert done.returncode == code
