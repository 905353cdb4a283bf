"""A version that is not in memory, and whose file is gone or no longer good, gives way to the one below it."""

import asyncio
import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import starting
from app.errors import NotReady
from app.registry.loading import Loader
from app.repository import Repository
from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_predictions import assert_problem
from tests.app.test_repository_routes import ADMIN, KEY
from tests.app.test_watching import refused, version
from tests.conftest import serving, wait_for

ONE_FITS = 1_500_000


@pytest.fixture
def root(tmp_path):
    """Two versions of ``toy``, and another model."""
    toys.publish(tmp_path, "other", 1)
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "toy", 2, toys.artifact(offset=0.25))
    return tmp_path


def replace(root, data, number=2):
    """Put other bytes in the place of a version's file, at once."""
    (root / "aside").write_bytes(data)
    os.replace(root / "aside", root / "toy" / str(number) / "model.onnx")


def listed(client):
    """What is said of the model: its version, its versions, whether it is ready."""
    (found,) = [model for model in client.get("/models").json()["models"] if model["name"] == "toy"]
    return found["version"], found["versions"], found["ready"]


def test_what_was_replaced_by_junk_and_let_go_of_hides_nothing_until_it_is_good_again(root):
    with serving(root, MODELS_MEMORY_BYTES=ONE_FITS, MODELS_POLL_S=0.05, ADMIN_KEY=KEY) as client:
        assert version(client) == 2
        replace(root, b"junk")
        wait_for(lambda: 2 in refused(client))
        assert version(client) == 2  # it is in memory still
        assert version(client, "other") == 1  # which takes its place
        client.log.wait_for("let go of toy:2, which cannot be loaded again: it is not a multi-pool artifact")

        assert listed(client) == (1, [1], True)
        assert version(client) == version(client, "toy:1") == 1
        assert_problem(client.post("/predict?model=toy:2", files={"file": toys.plain(1)}), 503, "not_ready")
        index = client.post("/v2/repository/index", headers=ADMIN).json()
        assert [one["state"] for one in index if one["name"] == "toy"] == ["READY", "UNAVAILABLE"]
        assert [one["reason"] for one in index] == ["", "", refused(client)[2]]
        loaded = [key[2] for key in scrape(client) if key[:2] == ("multipool_model_loaded", ("model", "toy"))]
        assert loaded == [("version", "1")]
        assert client.get("/readyz").status_code == 200

        replace(root, toys.artifact(offset=0.75))
        wait_for(lambda: version(client) == 2)
        assert version(client, "other") == 1  # which takes its place again
        assert listed(client) == (2, [1, 2], True)


def test_going_back_loses_no_request_although_the_version_is_not_in_memory(root):
    """Nor does it matter whether the folder is looked at."""
    with serving(root, MODELS_MEMORY_BYTES=ONE_FITS, MODELS_POLL_S=0) as client:
        assert version(client, "other") == 1
        (root / "toy" / "2").rename(root / "toy" / "2.withdrawn")

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(lambda _: version(client), range(30))) == {1}
        assert listed(client) == (1, [1], True)
        assert client.log.text.count("cannot load toy:2 again") == 1

        (root / "toy" / "2.withdrawn").rename(root / "toy" / "2")
        assert version(client, "toy:2") == 2  # who names it has it looked for
        assert version(client) == 2


def test_an_operator_who_loads_a_model_whose_highest_version_is_junk_gets_the_one_before(root):
    with serving(root, MODELS_POLL_S=0, ADMIN_KEY=KEY) as client:
        replace(root, b"junk")

        def order(action):
            return client.post(f"/v2/repository/models/toy/{action}", headers=ADMIN)

        assert order("unload").status_code == 200
        detail = assert_problem(order("load"), 422, "model_refused")["detail"]

        assert detail.endswith("; version 1 is served")
        assert client.get("/models/toy").json()["loaded"]
        assert version(client) == 1


def test_without_any_version_that_can_be_loaded_a_model_is_not_ready_until_one_is_good_again(tmp_path):
    path = toys.publish(tmp_path, "toy", 1)
    good = path.read_bytes()
    with serving(tmp_path, MODELS_POLL_S=0, ADMIN_KEY=KEY) as client:
        assert client.post("/v2/repository/models/toy/unload", headers=ADMIN).status_code == 200
        replace(tmp_path, b"junk", 1)

        response = client.post("/v2/repository/models/toy/load", headers=ADMIN)

        assert assert_problem(response, 422, "model_refused")["detail"].endswith("; no version of it is served")
        assert_problem(client.get("/readyz"), 503, "not_ready")
        assert listed(client) == (1, [1], False)
        assert version(client) is None
        replace(tmp_path, good, 1)
        assert version(client) == 1
        assert client.get("/readyz").status_code == 200


@pytest.fixture
def repository(root):
    loader = Loader(device="cpu", threads=1, max_batch_size=4)
    repository = Repository(root, default=None, loader=loader, memory_bytes=ONE_FITS)
    starting.load(repository)
    return repository


def ask(repository, *names):
    """Ask for models one after the other; returns the versions that would answer."""

    async def acquire():
        return [(await repository.acquire(name)).number for name in names]

    return asyncio.run(acquire())


def test_a_file_that_may_not_be_read_any_more_gives_way_until_it_may(root, repository, monkeypatch):
    read, forbidden = Path.read_bytes, [root / "toy" / "2" / "model.onnx"]

    def fails(path):
        if path in forbidden:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return read(path)

    assert ask(repository, "toy", "other") == [2, 1]
    monkeypatch.setattr(Path, "read_bytes", fails)
    assert ask(repository, "toy", "toy") == [1, 1]
    assert repository.served.versions("toy") == [1]
    with pytest.raises(NotReady):
        ask(repository, "toy:2")

    repository.unload("toy")
    repository.serve_again("toy")
    assert repository.served.find("toy").version.number == 1  # in memory

    forbidden.clear()
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 10)
    assert ask(repository, "other", "toy") == [1, 2]  # also where nobody looks at the folder


def test_a_file_that_cannot_be_read_for_a_moment_is_not_lost(root, repository, monkeypatch):
    """As when the process has too many open files: the request may be sent again, and the version stays."""
    read, failed = Path.read_bytes, []

    def fails_once(path):
        if path == root / "toy" / "2" / "model.onnx" and not failed:
            failed.append(path)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(path)

    assert ask(repository, "toy", "other") == [2, 1]
    monkeypatch.setattr(Path, "read_bytes", fails_once)
    with pytest.raises(NotReady):
        ask(repository, "toy")
    assert failed
    assert repository.served.versions("toy") == [1, 2]
    assert ask(repository, "toy") == [2]
