"""Workers that take the place of others go on as the running service did, and the supervisor says what it does."""

import json
import logging
import multiprocessing
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import starting
from app.apikeys import Keys
from app.errors import NothingToServe
from app.main import build
from app.metrics import Metrics
from app.orders import Order
from app.registry.loading import Loader
from app.repository import Repository
from app.server import accepting, worker
from app.server.accepting import Places
from app.server.link import Link
from app.server.relay import Relay
from app.server.worker import Worker
from app.server.workers import Supervisor
from app.settings import Settings
from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_protocol import connect, get, read_all
from tests.app.test_shutdown import Crowd, lost
from tests.app.test_watching import PHOTO, appear, refused, version
from tests.conftest import ROOT, START_LIMIT_S, serving, wait_for


def pids(client):
    """The processes that have said that they serve, in that order."""
    return [int(pid) for pid in re.findall(r"worker (\d+) is ready", client.log.text)]


def workers_ready(client, count):
    """Wait until so many workers have become ready, those that have ended included; returns them."""
    return wait_for(lambda: len(found := pids(client)) >= count and found, START_LIMIT_S)


def test_a_bad_model_does_not_keep_workers_from_being_replaced(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=2, MODELS_POLL_S=0.1) as client:
        first = workers_ready(client, 2)
        appear(tmp_path, "zz-new", 1, b"not a model")
        client.log.wait_for("(?s)refused zz-new:1.*refused zz-new:1")

        for pid in first:
            os.kill(pid, signal.SIGKILL)

        workers_ready(client, 4)
        assert version(client) == 1
        assert "not a multi-pool artifact" in refused(client)[1]


def test_without_the_default_model_a_new_worker_serves_the_rest(tmp_path):
    toys.publish(tmp_path, "other", 1)
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=2, MODELS_POLL_S=0.1, DEFAULT_MODEL="toy") as client:
        first = workers_ready(client, 2)
        shutil.rmtree(tmp_path / "toy")
        client.log.wait_for("(?s)removed toy:1.*removed toy:1")

        client.process.send_signal(signal.SIGHUP)

        workers_ready(client, 4)
        client.log.wait_for(r"(?s)worker \d+ ended.*worker \d+ ended")
        assert not [pid for pid in first if os.path.exists(f"/proc/{pid}")]
        assert version(client, "other") == 1
        found = scrape(client)
        assert (found["multipool_ready",], found["multipool_default_ready",]) == (1, 0)


def test_a_worker_that_hangs_does_not_keep_its_supervisor_from_telling_it_more(monkeypatch):
    """It is killed, so that another takes its place."""
    monkeypatch.setattr(worker, "_HANGS_S", 0.5)
    hanging = worker.start(multiprocessing.get_context("spawn"), hang, Places().take(), ())
    telling = threading.Thread(target=lambda: [hanging.tell(Order("load", "toy")) for _ in range(1000)], daemon=True)

    telling.start()
    telling.join(30)
    told = not telling.is_alive()
    if not told:
        hanging.process.terminate()
    hanging.process.join(30)

    assert told
    assert hanging.process.exitcode == -signal.SIGKILL
    assert hanging.how_it_ended() == "-9: killed because it hung"
    hanging.pipe.close()


def test_a_worker_that_hangs_when_it_is_renewed_is_killed(tmp_path):
    """Renewing is what an operator tries where one hangs, and its memory would never come back."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=2, LAME_DUCK_S=0, SHUTDOWN_TIMEOUT_S=0) as client:
        hanging = workers_ready(client, 2)[0]
        os.kill(hanging, signal.SIGSTOP)

        client.process.send_signal(signal.SIGHUP)

        client.log.wait_for(f"worker {hanging} hangs: it was told to end 5 s ago")
        client.log.wait_for(f"worker {hanging} ended")
        client.log.wait_for(r"(?s)worker \d+ ended.*worker \d+ ended")
        assert version(client) == 1


def hang(*_):
    time.sleep(60)


def test_a_renewal_that_cannot_begin_says_so_and_goes_on_once_it_can(tmp_path):
    toys.publish(tmp_path / "models", "toy", 1)
    keys = tmp_path / "keys"
    keys.write_text("a-key\n")
    with serving(tmp_path / "models", WORKERS=2, API_KEYS_FILE=keys, LOG_FORMAT="json") as client:
        workers_ready(client, 2)
        keys.write_text("")
        client.process.send_signal(signal.SIGHUP)
        client.log.wait_for("cannot start: .*the file holds no key")
        client.log.wait_for(
            r"died \(1\) before it was ready; 2 workers are not renewed and go on as they are; the next"
        )
        assert "another takes its place" not in client.log.text
        assert client.post("/predict", files=PHOTO, headers={"X-API-Key": "a-key"}).status_code == 200

        keys.write_text("another-key\n")
        client.log.wait_for(r"(?s)worker \d+ ended.*worker \d+ ended")
        assert client.post("/predict", files=PHOTO, headers={"X-API-Key": "another-key"}).status_code == 200
        assert scrape(client, **{"X-API-Key": "another-key"})["multipool_worker_restarts_total",] == 0  # no one died
        lines = [json.loads(line) for line in client.log.text.splitlines()]
        keys.write_text("")
        client.process.send_signal(signal.SIGHUP)
        client.log.wait_for(r"(?s)(the next try is in 2 s.*){2}")  # those that failed before do not count any more

    times = [datetime.fromisoformat(line["time"]) for line in lines if re.search("next try|is ready", line["message"])]
    assert times[3] - times[2] >= timedelta(seconds=2)  # after both of the first became ready


def test_however_often_no_worker_can_start_the_others_go_on(caplog):
    """As over a night, during which somebody has left the file of keys empty."""
    caplog.set_level(logging.ERROR)
    supervisor = Supervisor(hang, (), 2, 1, SimpleNamespace())
    for _ in range(1100):
        ours, theirs = multiprocessing.Pipe()
        dead = Worker(SimpleNamespace(pid=7, exitcode=1, join=lambda: None), ours, supervisor._places.take())
        supervisor._workers.append(dead)
        theirs.close()
        supervisor._turn()
    supervisor._bell.close()
    supervisor._ringer.close()

    pauses = [int(re.search(r"the next try is in (\d+) s", line)[1]) for line in caplog.messages]
    assert pauses == [2, 4, 8, 16] + [30] * 1096


def test_when_none_serves_and_none_can_start_it_ends_and_says_why(tmp_path):
    """Else whoever asks would wait for an answer for ever."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=2, MODELS_POLL_S=0) as client:
        first = workers_ready(client, 2)
        (tmp_path / "toy").rename(tmp_path / ".gone")
        for pid in first:
            os.kill(pid, signal.SIGKILL)

        assert client.process.wait(60) == 66
        assert re.search("^error: .*holds nothing that can be served; publish a model", client.log.text, re.MULTILINE)
        assert "Traceback" not in client.log.text


def test_who_goes_on_tries_what_is_new_first_and_refuses_what_cannot_be_served(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(Loader, "_try", lambda _, data: tried.append(data))
    old = toys.publish(tmp_path, "toy", 1).read_bytes()
    before = Repository(tmp_path, default="toy", loader=Loader(device="cpu", threads=1, max_batch_size=2))
    starting.load(before)
    assert tried == []
    new = toys.publish(tmp_path, "toy", 2, toys.artifact(offset=0.25)).read_bytes()
    toys.publish(tmp_path, "bad", 1, b"not a model")

    after = Repository(tmp_path, default="gone", loader=Loader(device="cpu", threads=1, max_batch_size=2))
    starting.load(after, before.trusted())

    assert after.ready
    assert old not in tried
    assert new in tried
    assert [entry.number for entry in after.served] == [2]
    assert {entry.name: bool(entry.refused) for entry in after.entries()} == {"bad": True, "toy": False}


def test_who_goes_on_needs_something_to_serve(tmp_path):
    toys.publish(tmp_path, "toy", 1, b"not a model")
    repository = Repository(tmp_path, default=None, loader=Loader(device="cpu", threads=1, max_batch_size=2))

    with pytest.raises(NothingToServe, match="can be served"):
        starting.load(repository, frozenset())


def test_a_version_still_to_come_does_not_stop_a_start(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    (tmp_path / "zz-new" / "1").mkdir(parents=True)
    with serving(tmp_path) as client:
        assert version(client) == 1
        assert refused(client) == {}


def counted(client):
    """How many predictions all workers have answered, those that have ended included."""
    key = ("multipool_requests_total", ("method", "POST"), ("route", "/predict"), ("status", "200"))
    return scrape(client).get(key)


def test_what_was_answered_is_counted_over_renewals(models):
    with serving(models, WORKERS=2, LAME_DUCK_S=0.5, DEFAULT_MODEL="brightness") as client:
        workers_ready(client, 2)
        with Crowd(client.base_url) as crowd:
            for ended in (2, 4):
                client.process.send_signal(signal.SIGHUP)
                client.log.wait_for(rf"(?s)(worker \d+ ended.*){{{ended}}}")
        assert lost(client, crowd) == []
        wait_for(lambda: counted(client) == crowd.answers)  # the others are heard of once a second


def test_no_total_goes_down_when_a_worker_is_killed(models):
    """Prometheus would take it for a restart, and count all that was ever counted once more."""
    restarts = "multipool_worker_restarts_total"
    key = ("multipool_requests_total", ("method", "GET"), ("route", "other"), ("status", "404"))
    with serving(models, WORKERS=2) as client:
        workers_ready(client, 2)
        for killed in (1, 2, 3):
            for _ in range(5):  # over one connection, and so to one worker
                assert client.get("/nothing").status_code == 404
            before = scrape(client).get(key, 0)
            os.kill(int(client.log.wait_for(r"(?s).*\[(\d+)\] GET /nothing")[1]), signal.SIGKILL)
            workers_ready(client, 2 + killed)
            found = wait_for(lambda killed=killed: (seen := scrape(client))[restarts,] == killed and seen)

            assert found.get(key, 0) >= before
        assert len(places(client)) == 2  # nor do connections wait for those that were killed


def places(client):
    """The numbers of connections of all that have a place among those that accept some, in memory that they share."""
    files = Path(f"/proc/{client.process.pid}/fd").iterdir()
    shared = next(file for file in files if "memfd:connections" in os.readlink(file))
    return [count for (count,) in struct.iter_unpack("i", shared.read_bytes()) if count != accepting._ABSENT]


FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from app.__main__ import main
sys.exit(main())
"""


def test_counting_goes_on_after_a_time_without_file_descriptors(models):
    with serving(models, WORKERS=2, arguments=("-c", FEW_FILES)) as client:
        workers_ready(client, 2)
        with ExitStack() as stack:
            for _ in range(150):
                stack.enter_context(connect(client))
            # For longer than a second.
            wait_for(lambda: client.log.text.count("cannot be accepted: Too many open files") >= 20)
        said = re.findall(r"(?m)^(\S+ \S+) .* cannot be accepted", client.log.text)
        assert datetime.fromisoformat(said[19]) - datetime.fromisoformat(said[0]) > timedelta(seconds=0.5)

        for _ in range(20):
            with connect(client) as connection:
                connection.sendall(get(b"Host: x", b"Connection: close", path=b"/nothing"))
                assert b" 404 " in read_all(connection)
        key = ("multipool_requests_total", ("method", "GET"), ("route", "other"), ("status", "404"))
        wait_for(lambda: scrape(client).get(key) == 20)


def test_an_order_that_goes_wrong_does_not_stop_those_after_it(tmp_path, caplog):
    toys.publish(tmp_path, "toy", 1)
    settings = Settings(models_dir=tmp_path, device="cpu")
    service = build(settings, Metrics(), Keys(settings))
    starting.load(service.repository)
    toys.publish(tmp_path, "toy", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        service.orders.obey(Order("load", "toy"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in caplog.text

    service.orders.obey(Order("load", "toy"))

    assert service.repository.served.find("toy").number == 2


READ_ONLY = """
import sys, tempfile
tempfile._candidate_tempdir_list = list  # none of the folders can be written to
from app.__main__ import main
sys.exit(main())
"""


def test_workers_start_where_no_file_can_be_written(models):
    """As in a container whose file system is read-only."""
    with serving(models, arguments=("-c", READ_ONLY), WORKERS=2) as client:
        workers_ready(client, 2)
        assert client.post("/predict", params={"model": "grey"}, files={"file": toys.plain(1)}).status_code == 200


def test_what_workers_that_have_ended_were_doing_is_not_counted_on_and_only_deaths_are_restarts():
    metrics = Metrics()
    metrics.count_request("/predict", "POST", 200, 0.1, None)
    metrics.images_in_work = lambda: 3
    ours, theirs = multiprocessing.Pipe()
    new, died, renewed = (Worker(None, ours, None, ready=True, counted=metrics.snapshot()) for _ in range(3))
    renewed.retired = True
    workers = [new, died, renewed]
    relay = Relay(workers)

    relay.welcome(new)
    before = theirs.recv().snapshot
    for one in (died, renewed):
        workers.remove(one)
        relay.forget(one)
    relay.welcome(new)
    after = theirs.recv().snapshot

    assert before["images_in_work"] == {(): [6]}
    assert "images_in_work" not in after
    assert before["requests"] == after["requests"] == {("/predict", "POST", "200"): [2]}
    assert [found["worker_restarts"][()] for found in (before, after)] == [[0], [1]]
    assert [found["workers_alive"][()] for found in (before, after)] == [[2], [1]]
    ours.close()
    theirs.close()


MANY_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
from app.__main__ import main
sys.exit(main())
"""


def test_workers_start_where_many_files_are_open(models):
    """As where whoever starts the service passes on all of its own."""
    with serving(models, arguments=("-c", MANY_FILES), WORKERS=2) as client:
        workers_ready(client, 2)
        assert client.post("/predict", params={"model": "grey"}, files={"file": toys.plain(1)}).status_code == 200


def test_a_worker_that_is_behind_does_not_carry_out_orders_that_were_replaced():
    """Loads take time, and meanwhile a model that is to be served again by the last of them is not."""
    ours, theirs = multiprocessing.Pipe()
    link, done = Link(theirs), []
    given = [("unload", "toy"), ("load", "toy"), ("unload", "other"), ("unload", "toy"), ("load", "toy")]
    for order in given:
        link.note(Order(*order))

    service = SimpleNamespace(orders=SimpleNamespace(obey=lambda order, _: done.append(order[:2])))
    threading.Thread(target=link._obey, args=(service,), daemon=True).start()

    wait_for(lambda: ("load", "toy") in done)
    assert done == [("unload", "other"), ("load", "toy")]
    ours.close()
    theirs.close()


def test_with_one_worker_there_is_nothing_to_renew(server):
    server.process.send_signal(signal.SIGHUP)

    server.log.wait_for("with one worker and no such file there is nothing to renew: set MULTIPOOL_WORKERS=2")
    assert version(server, "brightness") == 2


def test_with_one_worker_the_file_of_keys_is_read_again(models, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("old\nstays\n")
    with serving(models, API_KEYS_FILE=keys, RATE_LIMIT=1000) as client:

        def statuses():
            return [client.get("/models", headers={"X-API-Key": key}).status_code for key in ("old", "stays", "new")]

        assert statuses() == [200, 200, 401]
        keys.write_text("# none\n")
        client.process.send_signal(signal.SIGHUP)
        client.log.wait_for("the API keys stay as they are: .*: the file holds no key")
        assert statuses() == [200, 200, 401]

        keys.write_text("stays\nnew\n")
        client.process.send_signal(signal.SIGHUP)
        client.log.wait_for("API keys of fewer than 16 characters: 2 of 2(.|\n)*API keys read again: 2")
        assert statuses() == [401, 200, 200]


@pytest.mark.parametrize("style", ["text", "json"])
def test_the_log_tells_which_worker_answered(models, style):
    with serving(models, WORKERS=2, LOG_FORMAT=style) as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        assert client.get("/models").status_code == 200
        line = client.log.wait_for(r".*GET /models 200.*")[0]
        pid = json.loads(line)["pid"] if style == "json" else int(re.search(r"INFO +\[(\d+)\] GET", line)[1])

        assert pid in map(int, re.findall(r"worker (\d+) is ready", client.log.text))
        assert pid != client.process.pid


def test_requests_are_answered_while_a_large_file_of_keys_is_read(models, tmp_path):
    keys, known = tmp_path / "keys", {"X-API-Key": "a key of sixteen or more"}
    keys.write_text(known["X-API-Key"])
    with serving(models, API_KEYS_FILE=keys) as client:
        keys.write_text("\n".join([known["X-API-Key"], *(f"{number:032x}" for number in range(400_000))]))
        for times in range(1, 11):  # a machine that lets the client sleep meanwhile does not count
            client.process.send_signal(signal.SIGHUP)
            answers, deadline = [], time.monotonic() + 60
            while client.log.text.count("API keys read again: 400001") < times:
                assert time.monotonic() < deadline
                answers.append(client.get("/models", headers=known).status_code)
            assert set(answers) <= {200}
            if len(answers) >= 5:
                break

        assert len(answers) >= 5
        assert client.get("/models", headers={"X-API-Key": f"{7:032x}"}).status_code == 200


def flood(client, line):
    """Send 50 signals, more in the time of one renewal; return how often the log has the line by then, at most.

    What was asked for by the last signal may still be due, and what was begun by then not yet be in the log.
    """
    for _ in range(50):
        client.process.send_signal(signal.SIGHUP)
        time.sleep(0.005)
    return client.log.text.count(line) + 2


def test_keys_are_read_once_more_however_often_it_is_asked_for_meanwhile(models, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("\n".join(f"{number:032x}" for number in range(100_000)))
    with serving(models, API_KEYS_FILE=keys) as client:
        threads = Path(f"/proc/{client.process.pid}/task")
        before = len(list(threads.iterdir()))
        most = flood(client, "read again")
        assert len(list(threads.iterdir())) < before + 10

        keys.write_text("the last one is in force")
        client.process.send_signal(signal.SIGHUP)
        client.log.wait_for("API keys read again: 1$")
        assert client.get("/models", headers={"X-API-Key": "the last one is in force"}).status_code == 200
        assert client.log.text.count("read again") <= most + 1


def test_workers_are_renewed_once_more_however_often_it_is_asked_for_meanwhile(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=2, LAME_DUCK_S=0) as client:
        workers_ready(client, 2)
        client.process.send_signal(signal.SIGHUP)
        client.log.wait_for("renewing")  # or else all of the signals may be seen as one
        most = flood(client, "renewing")

        client.log.wait_for(r"(?s)(worker \d+ ended.*){4}")
        renewals, ended, deadline = 1, 0, time.monotonic() + 60
        while ended < 2 * renewals:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            log = client.log.text
            renewals, ended = log.count("renewing"), len(re.findall(r"worker \d+ ended", log))
            assert 2 <= renewals <= most


def test_a_worker_is_not_ended_by_what_is_meant_for_its_supervisor(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, WORKERS=2) as client:
        for pid in workers_ready(client, 2):
            os.kill(pid, signal.SIGHUP)  # as a service manager does that signals a whole group
        client.process.send_signal(signal.SIGHUP)

        client.log.wait_for(r"(?s)worker \d+ ended.*worker \d+ ended")
        assert "died" not in client.log.text


AT_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from app import serving
from app.__main__ import main
prepare = serving._prepare
def prepare_and_wait(settings):
    prepare(settings)
    sys.stderr.write("prepared\\n")  # in one piece: nothing can be written any more when it has been read
    if {wait}:
        try: sys.stdin.read()  # until it is closed
        except OSError: pass
serving._prepare = prepare_and_wait
sys.exit(main())
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("begun", ["prepared", "ready: 1 model, default toy"])
def test_a_service_at_a_terminal_ends_with_it(tmp_path, workers, begun):
    """However early it is closed."""
    toys.publish(tmp_path / "models", "toy", 1)
    chosen = {"MODELS_DIR": tmp_path / "models", "PORT": 0, "LAME_DUCK_S": 0, "WORKERS": workers}
    settings = {f"MULTIPOOL_{name}": str(value) for name, value in chosen.items()}
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL.format(wait=begun == "prepared")],
        cwd=ROOT,
        env=os.environ | settings,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    while begun.encode() not in said:
        said += os.read(terminal, 10_000)

    os.close(terminal)

    try:
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_missing_workers_are_seen(tmp_path):
    toys.publish(tmp_path / "models", "toy", 1)
    keys = tmp_path / "keys"
    keys.write_text("a-key\n")
    with serving(tmp_path / "models", WORKERS=2, API_KEYS_FILE=keys) as client:

        def metrics():
            return scrape(client, **{"X-API-Key": "a-key", "Connection": "close"})

        def workers():
            found = metrics()
            assert found["process_cpu_seconds_total",] > 0
            assert found["process_resident_memory_bytes",] > 0
            names = ("multipool_workers_wanted", "multipool_workers_alive", "multipool_worker_restarts_total")
            return [found[name,] for name in names]

        first = workers_ready(client, 2)
        wait_for(lambda: workers() == [2, 2, 0])
        began = metrics()["process_start_time_seconds",]
        assert began == pytest.approx(time.time(), abs=600)
        least = min(resident(pid) for pid in first)  # and what they take is added up
        wait_for(lambda: metrics()["process_resident_memory_bytes",] > 1.5 * least)
        keys.write_text("")  # with which none can start
        os.kill(first[0], signal.SIGKILL)
        wait_for(lambda: workers()[:2] == [2, 1] and workers()[2] >= 1)

        keys.write_text("a-key\n")
        wait_for(lambda: workers() == [2, 2, 1])  # only one has died; those that could not start had never lived
        assert metrics()["process_start_time_seconds",] == began  # that of the service


def resident(pid):
    """Bytes of memory that a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
