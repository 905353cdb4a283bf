"""More models than fit into memory: those asked for are there, the rest wait on the disk."""

import asyncio
import gc
import hashlib
import os
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from app import starting
from app.errors import ModelNotFound, NotReady, UnreadableArtifact
from app.registry import loading
from app.registry.residency import Residency
from app.repository import Repository
from app.watching import Watcher
from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_protocol import connect
from tests.app.test_repository import loader
from tests.app.test_watching import never_ends, trial
from tests.conftest import limited, serving, wait_for

PHOTO = {"file": toys.plain(128)}
COUNT = 12


def test_the_least_recently_used_are_let_go_of(tmp_path):
    for index in range(COUNT):
        toys.publish(tmp_path, f"toy-{index:02}", 1, toys.artifact(offset=0.3 + index / 100))
    with serving(tmp_path, MODELS_MEMORY_BYTES=4_500_000) as client:

        def loaded():
            return {model["name"] for model in client.get("/models").json()["models"] if model["loaded"]}

        assert len(loaded()) < COUNT
        room = r"ready: 12 models, .*; MULTIPOOL_MODELS_MEMORY_BYTES has room for (\d+), the others"
        assert int(client.log.wait_for(room)[1]) == len(loaded())
        answers = {}
        with ThreadPoolExecutor(6) as pool:

            def ask(index):
                return index, client.post("/predict", params={"model": f"toy-{index:02}"}, files=PHOTO)

            for index, response in pool.map(ask, [*range(COUNT)] * 3):
                assert response.status_code == 200
                assert response.json()["model"] == f"toy-{index:02}"
                assert answers.setdefault(index, response.json()["branches"]) == response.json()["branches"]
        assert 0 < len(loaded()) < COUNT
        client.post("/predict", params={"model": "toy-03"}, files=PHOTO)
        assert "toy-03" in loaded()
        assert client.get("/readyz").status_code == 200
        assert all(model["ready"] for model in client.get("/models").json()["models"])


def test_models_that_are_loaded_at_the_same_time_count_each_for_itself(committed):
    path = committed / "eurosat-regions" / "4" / "model.onnx"
    one = loader()
    kept = [one.open(path) for _ in range(2)]  # the first pays for what all share
    alone = kept[-1][1]

    with ThreadPoolExecutor(6) as pool:
        kept += pool.map(lambda _: one.open(path), range(12))

    assert max(size for _, size in kept[2:]) < 2 * alone


def test_a_file_that_is_tried_holds_up_no_other(tmp_path):
    hangs, good = toys.publish(tmp_path, "hangs", 1, never_ends()), toys.publish(tmp_path, "toy", 1)
    one = loader()
    with ThreadPoolExecutor(1) as pool:
        tried = pool.submit(one.open, hangs, frozenset())
        process = wait_for(trial)

        assert one.open(good)
        assert not tried.done()
        os.kill(process, signal.SIGTERM)
        with pytest.raises(UnreadableArtifact):
            tried.result(60)


def test_a_model_that_comes_and_goes_is_watched_for_drift_all_the_same(tmp_path):
    """Too few of its images come at a time; those of another file in its place are not counted with them."""
    path = toys.publish(tmp_path, "toy", 1, toys.artifact(statistics=toys.statistics()))
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, MODELS_MEMORY_BYTES=1_500_000, MODELS_POLL_S=0) as client:

        def send(model, count):
            files = [("file", toys.plain(0))] * count
            assert client.post("/predict/batch", params={"model": model}, files=files).status_code == 200

        def blind():
            found = scrape(client)
            key = "multipool_feature_drift", ("branch", "joint"), ("model", "toy"), ("version", "1")
            return found.get(key), found["multipool_model_loaded", ("model", "toy"), ("version", "1")]

        for loads in range(2):
            assert blind() == (None, loads == 0)
            send("toy", 60)
            send("other", 1)
        assert blind() == (pytest.approx(0.9), False)

        path.write_bytes(toys.artifact(offset=0.75, statistics=toys.statistics()))
        send("toy", 60)
        assert blind() == (None, True)


def test_the_highest_versions_stay(tmp_path):
    for number in range(1, 7):
        toys.publish(tmp_path, "toy", number)
    repository = Repository(tmp_path, default=None, loader=loader(), memory_bytes=2_500_000)
    starting.load(repository)

    loaded = [entry.number for entry in repository.entries() if entry.version is not None]
    assert loaded
    assert loaded[-1] == 6
    assert len(loaded) < 6
    assert loaded == list(range(loaded[0], 7))  # those that were loaded last
    assert repository.served.versions("toy") == [1, 2, 3, 4, 5, 6]


def test_what_was_asked_for_last_stays_however_little_memory_there_is(tmp_path):
    """Or it would be loaded for every request anew."""
    for name in ("one", "two"):
        toys.publish(tmp_path, name, 1)
    repository = Repository(tmp_path, default=None, loader=loader(), memory_bytes=1)
    starting.load(repository)
    for name in ("one", "two"):
        asyncio.run(repository.acquire(name))

        assert [entry.name for entry in repository.entries() if entry.version is not None] == [name]


def test_a_model_that_is_gone_from_the_disk_when_it_is_needed_again(tmp_path):
    paths = [toys.publish(tmp_path, f"toy-{index}", 1) for index in range(6)]
    with serving(tmp_path, MODELS_MEMORY_BYTES=1_500_000, MODELS_POLL_S=0) as client:
        absent = next(model["name"] for model in client.get("/models").json()["models"] if not model["loaded"])
        paths[int(absent[-1])].write_bytes(b"something else")
        response = client.post("/predict", params={"model": absent}, files=PHOTO)
        assert response.status_code == 503
        assert response.json()["code"] == "not_ready"
        assert str(tmp_path) not in response.text
        assert {entry["name"] for entry in client.get("/models").json()["refused"]} == {absent}


def test_without_file_descriptors_what_is_loaded_answers_and_the_rest_is_not_ready(tmp_path):
    """No image is called damaged, although it is the first one, and nothing has failed inside."""
    for index in range(6):
        toys.publish(tmp_path, f"toy-{index}", 1, toys.artifact(offset=0.3 + index / 100))
    python, script = limited(header_s=600)  # so long may connections stay that say nothing
    few_files = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n{script}"
    settings = {"MODELS_MEMORY_BYTES": 1_500_000, "MODELS_POLL_S": 0, "KEEP_ALIVE_S": 600}
    with (
        serving(tmp_path, arguments=(python, few_files), **settings) as other,
        # Asks over one connection, however long that is idle: there cannot be another meanwhile.
        httpx.Client(base_url=other.base_url, timeout=60, limits=httpx.Limits(keepalive_expiry=None)) as client,
    ):
        models = {model["loaded"]: model["name"] for model in client.get("/models").json()["models"]}

        def ask(loaded):
            response = client.post("/predict", params={"model": models[loaded]}, files=PHOTO)
            return response.status_code, response.json().get("code")

        with ExitStack() as stack:
            for _ in range(150):
                stack.enter_context(connect(client))
            other.log.wait_for("cannot be accepted: Too many open files")
            assert ask(loaded=False) == (503, "not_ready")
            assert ask(loaded=True) == (200, None)

        wait_for(lambda: ask(loaded=False) == (200, None))


@pytest.fixture
def crowded(tmp_path):
    """A repository that does not fit into its memory."""
    for index in range(4):
        toys.publish(tmp_path, f"toy-{index}", 1, toys.artifact(offset=0.3 + index / 100))
    repository = Repository(tmp_path, default=None, loader=loader(), memory_bytes=1_500_000)
    starting.load(repository)
    return repository


def let_go(repository):
    return next(entry for entry in repository.entries() if entry.version is None)


def acquire(repository, entry):
    return asyncio.run(repository.acquire(entry.reference))


def test_what_was_used_least_recently_goes_and_no_more_than_has_to(tmp_path):
    for index in range(8):
        toys.publish(tmp_path, f"toy-{index}")
    repository = Repository(tmp_path, default=None, loader=loader(), memory_bytes=4_500_000)
    starting.load(repository)
    there = [entry for entry in repository.entries() if entry.version is not None]
    assert 3 <= len(there) < 8
    absent = let_go(repository)

    for entry in (*there, there[0], absent):
        acquire(repository, entry)

    gone = [entry.name for entry in there if entry.version is None]
    assert absent.version is not None
    assert gone == [there[1].name]


def test_a_file_that_was_replaced_goes_through_a_trial_and_once_only(crowded, monkeypatch, caplog):
    monkeypatch.setattr(loading, "_TRIAL_S", 0)  # no trial succeeds
    entry = let_go(crowded)
    good = entry.found.path.read_bytes()
    entry.found.path.write_bytes(toys.artifact(16, 16))

    for _ in range(2):
        with pytest.raises(NotReady, match="GET /models says why"):
            acquire(crowded, entry)
    Watcher(crowded, 1).look(entry.name)

    assert entry.refused == "it was not loaded and run within 0 s"
    assert caplog.text.count("within 0 s") == 1  # whoever asks
    assert entry.card.sha256 == hashlib.sha256(good).hexdigest()
    entry.found.path.write_bytes(good)
    assert acquire(crowded, entry).model.sha256 == entry.card.sha256
    assert entry.refused is None


def test_a_file_that_was_replaced_by_a_good_one_is_told_of_as_it_is_served(crowded, caplog):
    caplog.set_level("INFO", "app.repository")
    entry = let_go(crowded)
    data = toys.artifact(16, 16, offset=0.75)
    entry.found.path.write_bytes(data)

    version = acquire(crowded, entry)
    Watcher(crowded, 1).look(entry.name)

    assert entry.version is version
    assert version.model.sha256 == entry.card.sha256 == hashlib.sha256(data).hexdigest()
    assert version.model.shape == entry.card.shape == (16, 16, 3)
    assert caplog.text.count(f"loaded {entry.reference}") == 1  # by the request, and not once more


def test_the_same_file_is_loaded_again_without_a_trial(crowded, monkeypatch):
    monkeypatch.setattr(loading, "_TRIAL_S", 0)
    entry = let_go(crowded)
    entry.found.path.touch()

    assert acquire(crowded, entry).model.sha256 == entry.card.sha256


@pytest.mark.parametrize("leave", [lambda repository, entry: repository.unload(entry.name), Repository.remove])
def test_what_leaves_while_it_is_loaded_again_is_answered_with_and_does_not_stay(crowded, monkeypatch, leave):
    entry, opened = let_go(crowded), loading.Loader.open

    def open_and_leave(*arguments):
        found = opened(*arguments)
        leave(crowded, entry)
        return found

    monkeypatch.setattr(loading.Loader, "open", open_and_leave)
    model = weakref.ref(acquire(crowded, entry).model)
    reference, entry = entry.reference, None
    gc.collect()

    assert model() is None
    with pytest.raises(ModelNotFound):
        crowded.served.resolve(reference)


def test_a_new_version_of_what_is_unloaded_at_that_moment_does_not_stay(tmp_path, monkeypatch):
    toys.publish(tmp_path, "toy", 1)
    repository = Repository(tmp_path, default=None, loader=loader())
    starting.load(repository)
    toys.publish(tmp_path, "toy", 2)
    load = Residency.load

    def load_and_unload(*arguments):
        version = load(*arguments)
        repository.unload("toy")
        return version

    monkeypatch.setattr(Residency, "load", load_and_unload)
    Watcher(repository, 1).look("toy")

    assert [(entry.number, entry.version) for entry in repository.entries()] == [(1, None), (2, None)]


def test_who_leaves_while_a_model_is_loaded_again_leaves_it_to_the_others(crowded, monkeypatch):
    entry, load = let_go(crowded), loading.Loader.open
    go_on, loads = threading.Event(), []

    def slowly(*arguments):
        loads.append(arguments)
        go_on.wait(20)
        return load(*arguments)

    async def scenario():
        leaves, stays = (asyncio.create_task(crowded.acquire(entry.reference)) for _ in range(2))
        await asyncio.sleep(0)  # by when both wait
        leaves.cancel()
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.wait_for(stays, 20)

    monkeypatch.setattr(loading.Loader, "open", slowly)

    assert asyncio.run(scenario()).model.sha256 == entry.card.sha256
    assert len(loads) == 1
