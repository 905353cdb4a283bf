"""What TensorFlow's libraries write is held back, and printed if something fails."""

import subprocess
import sys

from tests.conftest import ROOT

SCRIPT = """
import os
from model_export.console.streams import quiet

def written(words, end=None):
    try:
        with quiet():
            os.write(2, words)
            if end:
                raise end
    except BaseException as error:
        assert error is end
    else:
        assert end is None
    os.write(2, b"-")

before = len(os.listdir("/proc/self/fd"))
written(b"held back")
written(b"told", ValueError())
written(b"interrupted", KeyboardInterrupt())
assert len(os.listdir("/proc/self/fd")) == before
"""


def test_what_is_held_back_is_told_of_a_failure_and_not_of_an_interrupt():
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr, done.stdout) == (0, "-told--", "")
