"""What is to be put in front of the service, run for real where it is installed."""

import shutil
import socket
import subprocess
import time

import pytest

from tests import toys
from tests.app.test_protocol import read_all
from tests.conftest import ROOT, serving

HAPROXY = shutil.which("haproxy")


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed")
def test_haproxy_lets_nobody_in_from_outside(tmp_path):
    """However the path is written."""
    toys.publish(tmp_path / "models", "toy")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving(tmp_path / "models", ADMIN_KEY="an admin key that is long") as client:
        text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
        text = text.replace("bind :8080", f"bind 127.0.0.1:{port}").replace(":8000", f":{client.base_url.port}")
        (tmp_path / "haproxy.cfg").write_text(
            "\n".join(line for line in text.splitlines() if ":8001" not in line) + "\n"
        )
        proxy = subprocess.Popen([HAPROXY, "-db", "-f", tmp_path / "haproxy.cfg"])
        try:
            wait_until(lambda: ask(port, "GET", "/readyz") == 200)
            for path in ("/metrics", "/%6detrics", "/%6D%65trics", "/metrics?a", "//x/../metrics%zz"):
                assert ask(port, "GET", path) in (403, 404), path
            for path in ("/v2/repository/index", "/v%32/repository/index", "/v2%2frepository/index", "/%762/x%zz"):
                assert ask(port, "POST", path) == 403, path
            assert ask(port, "GET", "/metrics") == ask(port, "GET", "/%6detrics") == 403
            assert ask(port, "GET", "/%6dodels") == 200
        finally:
            proxy.kill()
            proxy.wait(10)


def ask(port, method, path):
    """Send one request as it stands; returns the status, or 0 where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            answer = read_all(connection)
    except ConnectionError:
        return 0
    return int(answer.split()[1]) if answer else 0


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
