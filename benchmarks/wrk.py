"""Load on a server: ``wrk``, a compiled generator that takes next to nothing of the cores that it shares."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_s

_BOUNDARY = "multipool-benchmark"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


Write = Callable[[bytes], tuple[bytes, dict[str, str]]]
"""Makes a body and its headers of an image."""


def form(image: bytes) -> tuple[bytes, dict[str, str]]:
    """Write an image as ``multipart/form-data``, as ``curl -F file=@image.jpg`` does."""
    return forms([image])


def forms(images: list[bytes]) -> tuple[bytes, dict[str, str]]:
    """Write several images as the parts of one form."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body = b"".join(head + image + b"\r\n" for image in images) + f"--{_BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def raw(image: bytes) -> tuple[bytes, dict[str, str]]:
    """Send an image as it is."""
    return image, {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Target:
    """A server, and the request that it is sent."""

    port: int
    pid: int
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def url(self) -> str:
        """Where the request goes."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def ask(self) -> dict:
        """Send the request once."""
        request = urllib.request.Request(self.url, self.body, self.headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())


@dataclass(frozen=True)
class Run:
    """The result of one load test."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time of the server and its children, per request."""


def run(target: Target, connections: int, seconds: int) -> Run:
    """Send the same request again and again over that many connections, each as soon as it has its answer.

    Raises:
        SystemExit: There is no ``wrk``, or an answer was not 200.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "request.lua"
        body.write_bytes(target.body)
        headers = "".join(f"wrk.headers[{json.dumps(k)}]={json.dumps(v)}\n" for k, v in target.headers.items())
        read = f'local f=io.open({json.dumps(str(body))},"rb"); wrk.body=f:read("*a"); f:close()'
        script.write_text(f'wrk.method="POST"\n{read}\n{headers}')
        command = [_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", script]
        before = cpu_s(target.pid)
        output = subprocess.run([*command, target.url], check=True, capture_output=True, text=True).stdout
        spent = cpu_s(target.pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"not every answer was 200:\n{output}")
    requests = int(re.search(r"(\d+) requests in", output)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    return Run(rate, _ms(output, "50"), _ms(output, "99"), 1000 * spent / max(1, requests))


def _wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("the load comes from wrk, which is not installed; on Debian and Ubuntu: apt install wrk")
    return found


def _ms(output: str, percentile: str) -> float:
    number, unit = re.search(rf"\b{percentile}%\s+([\d.]+)(us|ms|s|m)\b", output).groups()
    return float(number) * _UNITS[unit]
