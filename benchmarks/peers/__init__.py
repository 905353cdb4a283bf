"""Other servers doing the same work: each in an environment of its own, each as its documentation says."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from benchmarks.wrk import Target, Write, form

_HERE = Path(__file__).parent
_COMMON = ("onnxruntime==1.31.1", "pillow==13.0.0", "numpy")
_LIMIT_S = 120


def _v2(image: bytes) -> tuple[bytes, dict[str, str]]:
    """Write the image as one BYTES tensor of the V2 inference protocol, in JSON."""
    data = [base64.b64encode(image).decode()]
    tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    return json.dumps({"inputs": [{**tensor, "data": data}]}).encode(), {"Content-Type": "application/json"}


def _v2_binary(image: bytes) -> tuple[bytes, dict[str, str]]:
    """Write it with the binary extension of that protocol, as Triton's own client does."""
    size = len(image) + 4
    tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor]}).encode()
    body = header + len(image).to_bytes(4, "little") + image
    return body, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}


class DidNotStart(Exception):
    """A server that should be measured does not answer."""


@dataclass(frozen=True)
class Peer:
    """One server of the comparison."""

    name: str
    package: str
    """What it is installed from, and whose version is printed."""
    extras: tuple[str, ...] = ()
    path: str = "/predict"
    body: Write = form

    @property
    def home(self) -> Path:
        """Where its environment lies."""
        return Path(".venv/peers") / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return (self.home / "bin/python").absolute()

    def install(self) -> None:
        """Make its environment, once."""
        done = self.home / "installed"
        if done.exists():
            return
        print(f"installing {self.package}", flush=True)
        uv = find_uv_bin()  # of the environment that runs this, which need not be on the path
        # With the interpreter that runs the service, so that no peer has a better or a worse one.
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys._base_executable, self.home], check=True)
        packages = [self.package, *self.extras, *_COMMON]
        subprocess.run([uv, "pip", "install", "--quiet", "--python", self.python, *packages], check=True)
        done.touch()

    def version(self) -> str:
        """Version of its package."""
        code = f"import importlib.metadata as m; print(m.version({self.package.partition('[')[0]!r}))"
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()

    @contextmanager
    def serving(self, model: Path, image: bytes) -> Iterator[Target]:
        """Start it on a free port of the loopback address, and wait until it answers."""
        port = _free_ports()
        environment = {
            **os.environ,
            "PORT": str(port),
            "MODEL": str(model.absolute()),
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # 15 otherwise: behind everything else on the machine
        }
        command = [self.python, f"{self.name}_server.py"]
        with (self.home / "log").open("wb") as log:
            # A session of its own, so that whatever it starts can be stopped with it.
            process = subprocess.Popen(
                command, cwd=_HERE, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            body, headers = self.body(image)
            target = Target(port, process.pid, self.path, body, headers)
            _wait(target, process, self.home / "log")
            yield target
        finally:
            _stop(process)


PEERS = (
    Peer("fastapi", "fastapi", ("uvicorn[standard]", "python-multipart")),
    Peer("litserve", "litserve", ("python-multipart",)),
    Peer("bentoml", "bentoml"),
    Peer("mlserver", "mlserver", ("uvloop<0.22",), path="/v2/models/peer/infer", body=_v2),
    Peer("pytriton", "nvidia-pytriton", path="/v2/models/peer/infer", body=_v2_binary),
    Peer("ray", "ray[serve]", ("python-multipart",)),
)


def _free_ports() -> int:
    """Find a port that is free, as are the two after it."""
    for port in range(20000, 30000, 10):
        try:
            for number in range(port, port + 3):
                socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        return port
    raise SystemExit("no free ports")


def _wait(target: Target, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            target.ask()
        except OSError:  # refused, or answered with an error
            time.sleep(0.02)
        else:
            return
    raise DidNotStart(f"{log.parent.name} did not start; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(1)
