"""An orderly end: nothing that was begun is lost, and it is over in time; workers are replaced and renewed."""

import contextlib
import os
import re
import resource
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.server import lifecycle
from tests import toys
from tests.app.test_predictions import assert_problem
from tests.app.test_protocol import connect, get, post, read_all, read_one
from tests.app.test_watching import appear, never_ends
from tests.conftest import ROOT, children, limited, serving, wait_for, wait_for_metric

PHOTO = {"file": toys.plain(1)}


def workers(client):
    """The processes that answer, found by what each says when its models are loaded."""
    return [int(pid) for pid in re.findall(r"worker (\d+) is ready", client.log.text)]


class Crowd:
    """Clients that ask again and again, each over a connection that it keeps."""

    def __init__(self, address, size=8):
        self.answers, self.failures = 0, []
        self._address = address
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(size)
        self._running = [self._pool.submit(self._ask) for _ in range(size)]

    def _ask(self):
        sent = []

        def note(event, _):
            if event == "http11.send_request_body.complete":
                sent.append(time.monotonic())

        with httpx.Client(base_url=self._address, timeout=60) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                sent.clear()
                try:
                    status = client.post("/predict", files=PHOTO, extensions={"trace": note}).status_code
                except httpx.TransportError as error:
                    # A client that the machine has held up for so long may find its connection closed meanwhile, for
                    # want of a request.
                    if (sent or [time.monotonic()])[0] - began < lifecycle._LAST_REQUESTS_S / 2:
                        self.failures.append(repr(error))
                else:
                    self.answers += status == 200
                    if status != 200:
                        self.failures.append(status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        for one in self._running:
            one.result()
        self._pool.shutdown()


def lost(client, crowd):
    """What its clients did not get, and what the service has begun and given up."""
    given_up = re.findall(r"POST /predict (?!200)\d+", client.log.text)
    return crowd.failures + given_up


def test_on_sigterm_it_is_not_ready_but_goes_on_for_a_while(models):
    with serving(models, LAME_DUCK_S=120, DEFAULT_MODEL="brightness") as client:
        client.process.send_signal(signal.SIGTERM)
        client.log.wait_for("draining for 120 s")
        assert_problem(client.get("/readyz"), 503, "draining")
        for _ in range(3):
            response = client.post("/predict", files=PHOTO)
            assert response.status_code == 200
            assert response.headers["connection"] == "close"
        assert client.get("/livez").status_code == 200
        client.process.send_signal(signal.SIGINT)  # which a person sends, who waits for no while
        assert client.process.wait(30) == 0


def test_it_goes_on_for_as_long_as_is_set(models):
    """And waits for no connection that is idle."""
    with serving(models, LAME_DUCK_S=1, SHUTDOWN_TIMEOUT_S=120) as client, connect(client):
        began = time.monotonic()
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(30) == 0
        assert time.monotonic() - began > 1


def test_what_was_begun_is_finished(tmp_path):
    """An image that waits for another, and that other one, whose upload has begun."""
    toys.publish(tmp_path, "toy")
    image, waits = toys.plain(1), {"MAX_BATCH_SIZE": 2, "MAX_BATCH_DELAY_MS": 60_000, "SHUTDOWN_TIMEOUT_S": 60}
    with (
        serving(tmp_path, arguments=limited(header_s=60, window_s=60), **waits) as client,
        connect(client) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(client.post, "/predict", content=image)
        wait_for_metric(client, "multipool_images_in_work 1.0")
        other.sendall(post(b"Content-Length: %d" % len(image), b"Connection: close", body=image[:10]))
        wait_for_metric(client, f"multipool_upload_bytes {len(image) + 10}.0")
        client.process.send_signal(signal.SIGTERM)
        wait_for(lambda: accepts_none(client))
        time.sleep(2)
        assert not waiting.done()
        other.sendall(image[10:])
        assert b" 200 OK" in read_all(other)
        assert waiting.result().status_code == 200
        assert client.process.wait(20) == 0


def test_what_takes_too_long_is_cut_off(tmp_path):
    toys.publish(tmp_path, "toy")
    settings = {"MAX_BATCH_DELAY_MS": 60_000, "SHUTDOWN_TIMEOUT_S": 0.1}
    with serving(tmp_path, **settings) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/predict", files=PHOTO)
        wait_for_metric(client, "multipool_images_in_work 1.0")
        client.process.send_signal(signal.SIGTERM)
        assert_problem(waiting.result(), 503, "draining")
        assert client.process.wait(20) == 0


def accepts_none(client):
    with socket.socket() as one:
        return one.connect_ex((client.base_url.host, client.base_url.port)) != 0


def part_of_a_body(size=50_000):
    return b"%x\r\n%b\r\n" % (size, bytes(size))


def test_an_upload_that_is_answered_early_does_not_hold_the_shutdown(models):
    """Its client goes on sending, although the answer tells it that the body is too large."""
    settings = {"MAX_UPLOAD_BYTES": 90_000, "MAX_FILES": 1, "SHUTDOWN_TIMEOUT_S": 60, "DEFAULT_MODEL": "brightness"}
    with serving(models, arguments=limited(write_s=120), **settings) as client, connect(client) as connection:
        connection.sendall(post(b"Transfer-Encoding: chunked", body=part_of_a_body()))
        wait_for_metric(client, "multipool_upload_bytes 50000.0")
        client.process.send_signal(signal.SIGTERM)
        wait_for(lambda: accepts_none(client))
        connection.sendall(part_of_a_body())
        assert b" 413 " in read_one(connection)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while client.process.poll() is None:
                connection.sendall(part_of_a_body(size=1000))
                time.sleep(0.05)

        assert client.process.wait(20) == 0
        assert "timeout graceful shutdown exceeded" not in client.log.text


def test_an_early_answer_can_be_read_although_the_service_shuts_down(models):
    """By a client that sends all of its body first, and by one whose body is broken; then nothing is waited for."""
    settings = {"arguments": limited(linger_s=20), "KEEP_ALIVE_S": 600, "SHUTDOWN_TIMEOUT_S": 60}
    with serving(models, **settings) as client, connect(client) as connection, connect(client) as broken:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        client.log.wait_for("POST /nothing 404")
        broken.sendall(b"\x16\x03\x01\r\n\r\n")
        client.log.wait_for("refused 127.0.0.1 with 400")
        client.process.send_signal(signal.SIGTERM)
        wait_for(lambda: accepts_none(client))
        for _ in range(20):
            for one in (connection, broken):
                one.sendall(bytes(50_000))
            time.sleep(0.01)

        assert b" 404 " in read_one(connection)
        assert b" 400 " in read_one(broken)
        assert connection.recv(1) == broken.recv(1) == b""
        broken.close()
        assert client.process.wait(30) == 0
        assert "timeout graceful shutdown exceeded" not in client.log.text


HELD_UP = """
import asyncio, os, select, sys, time
from app.__main__ import main
from app.server import lifecycle
from app.server.accepting import Acceptor

close = Acceptor.close
def close_and_be_held_up(acceptor):
    close(acceptor)
    Acceptor.close = close  # which is called once more, by uvicorn
    loop, (ours, theirs) = asyncio.get_running_loop(), os.pipe()
    def be_held_up():  # after the loop has asked which connections something has come over
        loop.remove_reader(ours)  # or it is called once more
        print("held up", file=sys.stderr, flush=True)
        select.select([one.transport.get_extra_info("socket") for one in acceptor._connections], [], [], 20)
        time.sleep(2 * lifecycle._LAST_REQUESTS_S)
    loop.add_reader(ours, be_held_up)
    os.write(theirs, b"a")
Acceptor.close = close_and_be_held_up
sys.exit(main())
"""


def test_a_request_that_comes_while_the_process_is_held_up_at_its_end_is_answered(models):
    """Over a connection that it has accepted, from which no request came before."""
    with (
        serving(models, arguments=("-c", HELD_UP)) as client,
        connect(client) as connection,
        connect(client) as accepted_later,
    ):
        accepted_later.sendall(get(b"Host: x"))
        assert b" 200 OK" in read_one(accepted_later)
        client.process.send_signal(signal.SIGTERM)
        client.log.wait_for("held up")
        connection.sendall(get(b"Host: x"))
        answer = read_all(connection)

    assert b" 200 OK" in answer
    assert answer.count(b"connection: close") == 1


def test_workers_are_renewed_without_losing_a_request(models):
    with serving(models, WORKERS=2, LAME_DUCK_S=0.5, DEFAULT_MODEL="brightness") as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        before = set(workers(client))
        with Crowd(client.base_url) as crowd:
            client.process.send_signal(signal.SIGHUP)
            client.log.wait_for(r"(?s)worker \d+ ended.*worker \d+ ended")
            wait_for(lambda: crowd.answers > 20)
        after = set(workers(client)) - before

        assert lost(client, crowd) == []
        assert len(after) == 2
        assert not [pid for pid in before if os.path.exists(f"/proc/{pid}")]


def test_a_worker_that_is_killed_is_replaced(models):
    with serving(models, WORKERS=2, DEFAULT_MODEL="brightness") as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        victim = workers(client)[0]
        with Crowd(client.base_url) as crowd:
            time.sleep(0.2)
            os.kill(victim, signal.SIGKILL)
            client.log.wait_for(r"(?s)(is ready.*){3}")
        assert len(crowd.failures) <= 8, "more than what was in work when it died"
        assert "died (-9: killed, perhaps for want of memory); another takes its place" in client.log.text
        assert "the next try is in" not in client.log.text
        assert client.post("/predict", files=PHOTO).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_supervisor(models, number):
    with serving(models, WORKERS=2) as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        before = workers(client)
        client.process.send_signal(number)
        client.process.wait(60)
        wait_for(lambda: not [pid for pid in before if os.path.exists(f"/proc/{pid}")])


HANGS = """
import os, sys, threading
sys.path.insert(0, {root!r})
import onnxruntime
run = onnxruntime.InferenceSession.run
def run_or_hang(self, names, feeds, *more):
    if feeds["image"].min() == 255:
        os.write(2, b"it hangs\\n")
        threading.Event().wait()
    return run(self, names, feeds, *more)
onnxruntime.InferenceSession.run = run_or_hang
from app.__main__ import main
if __name__ == "__main__":
    sys.exit(main())
"""


def test_what_hangs_does_not_keep_the_service_from_ending(tmp_path):
    """A worker of which one thread hangs, in a model, and one that hangs altogether."""
    toys.publish(tmp_path / "models", "toy")
    script, image = tmp_path / "hangs.py", toys.plain(255)
    script.write_text(HANGS.format(root=str(ROOT)))
    settings = {"WORKERS": 2, "SHUTDOWN_TIMEOUT_S": 0, "MAX_BATCH_DELAY_MS": 1, "arguments": (script,)}
    with serving(tmp_path / "models", **settings) as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        both = workers(client)
        os.kill(both[0], signal.SIGSTOP)
        try:
            with connect(client) as connection:
                connection.sendall(post(b"Content-Length: %d" % len(image), body=image))
                client.log.wait_for("it hangs")
                client.process.send_signal(signal.SIGTERM)

                assert client.process.wait(60) == 0
            assert "a thread did not end in time; leaving it behind" in client.log.text
            assert not [pid for pid in both if os.path.exists(f"/proc/{pid}")]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(both[0], signal.SIGKILL)


def kill_forkserver(client):
    """End the process that workers are forked from, as a signal to the whole process group does."""
    parent = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{workers(client)[0]}/status").read_text())[1])
    assert parent != client.process.pid
    os.kill(parent, signal.SIGKILL)


def test_no_request_is_lost_with_the_process_that_workers_are_forked_from(models):
    with serving(models, WORKERS=2, LAME_DUCK_S=0.5, DEFAULT_MODEL="brightness") as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        before = workers(client)
        with Crowd(client.base_url) as crowd:
            kill_forkserver(client)
            client.process.send_signal(signal.SIGHUP)
            client.log.wait_for(r"(?s)worker \d+ ended.*worker \d+ ended")

        assert lost(client, crowd) == []
        assert "died (" not in client.log.text
        os.kill((set(workers(client)) - set(before)).pop(), signal.SIGKILL)
        client.log.wait_for(r"(?s)(is ready.*){5}")


def test_workers_are_waited_for_without_the_process_that_they_are_forked_from(models):
    with serving(models, WORKERS=2, LAME_DUCK_S=0.5) as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        kill_forkserver(client)
        client.process.send_signal(signal.SIGTERM)

        assert client.process.wait(15) == 0
        assert client.log.text.count("stopped") == 2


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_ctrl_c_waits_for_nothing(models, count):
    """The request still under way is cut off, instead of being given the rest of its time."""
    settings = {"WORKERS": count, "DEFAULT_MODEL": "brightness", "KEEP_ALIVE_S": 60}
    settings |= {"MAX_BATCH_DELAY_MS": 60_000, "SHUTDOWN_TIMEOUT_S": 60}
    with serving(models, **settings) as client, contextlib.ExitStack() as stack:
        client.log.wait_for(r"(?s)(is ready.*){2}" if count > 1 else "ready: ")
        idle = [stack.enter_context(connect(client)) for _ in range(8)]
        for one in idle:
            one.sendall(get(b"Host: x"))
            assert b" 200 OK" in read_one(one)
        connection = stack.enter_context(connect(client))
        connection.sendall(post(b"Content-Length: %d" % len(PHOTO["file"]), body=PHOTO["file"]))
        wait_for_metric(client, "multipool_images_in_work 1.0")  # for another image, which never comes
        client.process.send_signal(signal.SIGINT)
        assert [read_all(one) for one in idle] == [b""] * 8  # by when the first has arrived
        client.process.send_signal(signal.SIGINT)

        assert client.process.wait(30) == 0
        assert "POST /predict 503" in client.log.text
        assert "Traceback" not in client.log.text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_renewal_that_is_asked_for_at_the_end_does_not_make_it_a_failure(tmp_path, workers):
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=workers, LAME_DUCK_S=0) as client:
        client.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while client.process.poll() is None and time.monotonic() < deadline:
            client.process.send_signal(signal.SIGHUP)
            time.sleep(0.005)

        assert client.process.returncode == 0


def test_new_versions_do_not_hold_up_the_end(tmp_path):
    """Those that are there are not all tried first; the next start does that."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, MODELS_POLL_S=0.1) as client:
        for number in range(2, 42):
            toys.publish(tmp_path, "toy", number, toys.artifact(gain=number))
        client.log.wait_for("loaded toy:2 ")
        client.process.send_signal(signal.SIGTERM)

        assert client.process.wait(60) == 0
        assert "loaded toy:41 " not in client.log.text


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_version_that_is_just_being_tried_ends_with_the_service(tmp_path, number, count):
    """However that ends; and the service does not wait for it, as a trial may take a minute."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, MODELS_POLL_S=0.1, SHUTDOWN_TIMEOUT_S=60, WORKERS=count) as client:
        serve = wait_for(lambda: len(found := workers(client)) == 2 and found) if count > 1 else [client.process.pid]
        appear(tmp_path, "toy", 2, never_ends())
        trials = [int(wait_for(lambda pid=pid: children(pid))[0]) for pid in serve]
        wait_for(lambda: all(os.getpriority(os.PRIO_PROCESS, pid) > 0 for pid in trials))  # which is when it begins
        client.process.send_signal(number)

        assert client.process.wait(20) == (0 if number == signal.SIGTERM else -number)
        wait_for(lambda: not [pid for pid in trials if os.path.exists(f"/proc/{pid}")], 20)
        assert "ERROR" not in client.log.text


def test_a_request_in_progress_is_finished_even_if_no_thread_can_be_started(models):
    with serving(models, MAX_BATCH_DELAY_MS=3000) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/predict?model=brightness:1", files=PHOTO)
        wait_for_metric(client, "multipool_images_in_work 1.0")
        status = Path(f"/proc/{client.process.pid}/status").read_text()
        taken = 1024 * int(re.search(r"VmSize:\s+(\d+)", status)[1])
        resource.prlimit(client.process.pid, resource.RLIMIT_AS, (taken + (1 << 20),) * 2)  # no room for a stack

        client.process.send_signal(signal.SIGTERM)

        assert asked.result().status_code == 200
