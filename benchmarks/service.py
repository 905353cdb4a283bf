"""A service of ours, started for a measurement and stopped after it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processes

_LIMIT_S = 180  # a GPU takes its time for the first run of each shape


@dataclass(frozen=True)
class Service:
    """Where it listens, and which process it is."""

    port: int
    pid: int

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection that stays open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path: str) -> dict[str, Any]:
        """Fetch a JSON document; what the service says instead ends the measurement."""
        with closing(self.connect()) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            document = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"{path} answered {response.status}: {document['detail']}")
        return document

    def resident_mb(self) -> float:
        """Memory it occupies, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def open_files(self) -> int:
        """Count its file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Count its threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def workers(self) -> set[int]:
        """Find the processes that answer, those that descend from it and listen."""
        found = processes.tree(self.pid).items()
        return {pid for pid, parent in found if self.pid not in (pid, parent)}  # those between are multiprocessing's


@contextmanager
def serving(
    models: str = "models", *, cores: set[int] | None = None, code: str = "", **settings: object
) -> Iterator[Service]:
    """Start the service on a free port of the loopback address, and wait until it is ready.

    Args:
        models: The model repository.
        cores: Those it may use; None for all.
        code: What to run instead of ``python -m app``.
        settings: Named without their prefix.
    """
    with _port() as port:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MULTIPOOL_")}
        chosen = {
            "MODELS_DIR": models,
            "PORT": port,
            "DEVICE": "cpu",
            "LOG_LEVEL": "warning",
            "LAME_DUCK_S": 0,
            **settings,
        }
        environment |= {f"MULTIPOOL_{name}": str(value) for name, value in chosen.items()}
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores)))] if cores else []
        process = subprocess.Popen(
            [*pinned, sys.executable, *(["-c", code] if code else ["-m", "app"])], env=environment
        )
        try:
            service = Service(port, process.pid)
            _wait(service, process)
            yield service
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def _port() -> Iterator[int]:
    """Yield a free port that nobody else is given meanwhile; the service, which shares addresses, can listen on it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _wait(service: Service, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with closing(service.connect()) as connection:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit("the service did not start; what it says is above")


def ask(connection: http.client.HTTPConnection, path: str, image: bytes, accept: str = "*/*") -> bytes:
    """Send one image as a raw body; returns the body of the answer."""
    status, body = send(connection, path, image, accept)
    if status != 200:
        raise SystemExit(f"{path} answered {status}: {body[:300].decode()}")
    return body


def send(connection: http.client.HTTPConnection, path: str, image: bytes, accept: str = "*/*") -> tuple[int, bytes]:
    """Send one image as a raw body; returns status and body of the answer."""
    connection.request("POST", path, image, {"Content-Type": "application/octet-stream", "Accept": accept})
    response = connection.getresponse()
    return response.status, response.read()
