"""A real server in a process of its own, over model repositories made of toys."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

import app  # noqa: F401  # first, so that ONNX Runtime is told to report nothing before a test imports it
from tests import toys

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
COMMITTED = ("digits-regions/4", "eurosat-channel-groups/4", "eurosat-regions/4", "eurosat-separable/5")
START_LIMIT_S = 120
"""What is waited for comes at once, or never; but a model that is tried first takes as long as a start."""

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_xdist_auto_num_workers():
    """One process more than there are cores: a quarter of the time, each of them waits for something it has started."""
    return len(os.sched_getaffinity(0)) + 1


def start(models, *, arguments=("-m", "app"), **settings):
    """Start the service with these settings; returns the process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MULTIPOOL_")}
    chosen = {"MODELS_DIR": models, "PORT": 0, "DEVICE": "cpu", "LAME_DUCK_S": 0, **settings}
    environment |= {f"MULTIPOOL_{name}": str(value) for name, value in chosen.items()}
    # A file takes any number of lines; a pipe that nobody reads would bring the service to a stand.
    with tempfile.NamedTemporaryFile(delete=False) as log:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stderr=log)
    process.log_path = Path(log.name)
    return process


LIMITED = """
import functools, sys
import app.main
from app.server.limits import Limits
app.main.Limits = functools.partial(Limits, **{limits})
from app.__main__ import main
sys.exit(main())
"""


def limited(**limits):
    """The arguments that start the service with other limits of a connection than it has; for one worker."""
    return "-c", LIMITED.format(limits=limits)


class Log:
    """What the service has written so far."""

    def __init__(self, process):
        self._process = process

    @property
    def text(self):
        return self._process.log_path.read_text()

    def wait_for(self, pattern, limit_s=START_LIMIT_S):
        """Wait until the pattern appears; returns the match."""
        deadline = time.monotonic() + limit_s
        while True:
            ended = self._process.poll() is not None  # before its log is read: it may end with what is waited for
            if match := re.search(pattern, self.text):
                return match
            assert not ended, f"the service ended before {pattern!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in:\n{self.text}"
            time.sleep(0.02)


@contextmanager
def serving(models, *, ready=True, **settings):
    """Run the service; yields a client of it that knows its ``process`` and ``log``."""
    process = start(models, **settings)
    try:
        log = Log(process)
        address = log.wait_for(r"(?:listening|running) on (http://[0-9.:]+)")[1]
        # A connection is not used again when it has been idle for so long that the service may just be closing it.
        kept = httpx.Limits(keepalive_expiry=2)
        with httpx.Client(base_url=address, timeout=60, limits=kept) as client:
            client.process, client.log = process, log
            if ready:
                wait_until_ready(client)
            yield client
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.log_path.unlink()


def wait_until_ready(client, path="/readyz"):
    """Wait until a path, ``/livez`` if no model need be loaded, is answered with 200."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            assert client.process.poll() is None, client.log.text
        time.sleep(0.02)
    raise AssertionError("the service did not become ready")


@contextmanager
def free_port():
    """Yield a port that nobody else is given meanwhile; what shares addresses, as servers do, can listen on it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def closed(path, mode=0):
    """Give a file or folder this mode, and be a user to whom it applies: root may read and write everything."""
    user = os.geteuid()
    path.chmod(mode)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(0o700)


def wait_for(condition, limit_s=START_LIMIT_S):
    """Wait until a condition holds; returns what it gives."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found


def children(pid):
    """The processes that another has started, in any of its threads."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found += (thread / "children").read_text().split()
    return found


def wait_for_metric(client, line, limit_s=START_LIMIT_S):
    """Wait until the metrics hold a line; returns all of them."""
    deadline = time.monotonic() + limit_s
    while line not in (found := client.get("/metrics").text).splitlines():
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A repository of three models: two versions of ``brightness``, one that reads 13 bands, one grey."""
    root = tmp_path_factory.mktemp("models")
    toys.publish(root, "brightness", 1)
    toys.publish(root, "brightness", 2, toys.artifact(offset=0.25, statistics=toys.statistics()))
    toys.publish(root, "bands", 1, toys.artifact(16, 16, 13))
    toys.publish(root, "grey", 7, toys.artifact(8, 8, 1, head=False, calibration={"temperature": 2}))
    return root


@pytest.fixture(scope="session")
def server(models):
    """A client of one service that serves ``models``, with ``brightness`` as default."""
    with serving(models, DEFAULT_MODEL="brightness", MAX_UPLOAD_BYTES=1_000_000, MAX_PIXELS=1_000_000) as client:
        yield client


@pytest.fixture(scope="session")
def committed(tmp_path_factory):
    """The models that come with the project, without those that someone has published beside them."""
    root = tmp_path_factory.mktemp("committed")
    for path in COMMITTED:
        shutil.copytree(ROOT / "models" / path, root / path)
    return root


@pytest.fixture(scope="session")
def published(committed):
    """A client of one service that serves them."""
    with serving(committed) as client:
        yield client


@pytest.fixture(scope="session")
def data():
    """The folder of real images; it does not come with the project."""
    if not DATA.is_dir():
        pytest.skip(f"no real images: {DATA.relative_to(ROOT.parent)} is absent")
    return DATA
