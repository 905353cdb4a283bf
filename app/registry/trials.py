"""The processes that load a file first, :mod:`app.registry.trial`: started, bounded in time, ended with the service."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from app.errors import Draining

_PROJECT = Path(__file__).parents[2]


class Trials:
    """Those of one service."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._lock = threading.Lock()  # guards both

    def run(self, data: bytes, max_batch_size: int, limit_s: float) -> tuple[int, str]:
        """Try the bytes of a file; blocks.

        Args:
            data: Of the file.
            max_batch_size: Size of the largest batch that is tried.
            limit_s: After so long, the process is killed.

        Returns:
            The exit code of the process, negative if a signal has ended it, and what it said.

        Raises:
            subprocess.TimeoutExpired: It took longer.
            Draining: The service stops; nothing is known of the file.
            OSError: No process could be started.
        """
        command = [sys.executable, "-m", "app.registry.trial", str(max_batch_size), str(os.getpid())]
        with self._lock:
            if self._stopped:
                raise Draining("the service is shutting down")
            process = subprocess.Popen(  # noqa: S603  # our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=_PROJECT
            )
            self._running.add(process)
        try:
            with process:
                try:
                    _, said = process.communicate(data, limit_s)
                finally:
                    process.kill()  # unless it has ended
        finally:
            with self._lock:
                self._running.remove(process)
        if self._stopped:
            raise Draining("the service is shutting down")
        return process.returncode, said.decode(errors="replace")

    def stop(self) -> None:
        """Kill those that run, and start no more: whoever waits for one would hold up the end of the service."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()
