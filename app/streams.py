"""Standard input, output and error, which whoever starts a command may have closed, as some supervisors do."""

from __future__ import annotations

import os
import sys


def complete() -> None:
    """Put the null device in the place of each that is closed.

    Otherwise the next file or connection that is opened takes its number, and with it what libraries print there; and
    Python has no object to print to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number, which is this
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115  # stays open
