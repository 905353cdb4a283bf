"""Work done ahead in threads."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from app import ahead, cores
from app.ahead import in_order
from tests.conftest import ROOT


def test_what_nobody_will_read_is_not_done(monkeypatch):
    begun, ended = [], threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *arguments, **options):
            super().shutdown(*arguments, **options)
            ended.set()

    def work(item):
        begun.append(item)
        if item > 2:  # however late the first ones are read, and the others are called off
            assert ended.wait(60)
        return item

    monkeypatch.setattr(ahead, "ThreadPoolExecutor", Pool)

    results = in_order(work, range(1000), ahead=100)
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
    results.close()  # as an interrupt does

    assert len(begun) <= 3 + cores.available()


def test_what_runs_is_finished_before_python_ends_however_often_it_is_interrupted():
    """ONNX Runtime crashes in a thread that outlives Python."""
    work = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from app.ahead import in_order

def slowly(_):
    print("begun", flush=True)
    os.read(0, 1)
    print("finished", flush=True)

for _ in in_order(slowly, range(1), ahead=1):
    pass
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", work], **pipes) as process:
        assert process.stdout.readline() == b"begun\n"
        for _ in range(2):
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
        time.sleep(0.3)

        assert process.communicate(b"x")[0] == b"finished\n"
