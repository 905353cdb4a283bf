"""Versions that are published or deleted while the service runs, good ones and bad ones."""

import asyncio
import hashlib
import os
import resource
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app import starting
from app.errors import InvalidArtifact, UnreadableArtifact
from app.registry import loading
from app.registry.artifacts import Found
from app.repository import Repository
from app.watching import Watcher
from tests import toys
from tests.app.test_metrics import scrape
from tests.conftest import children, serving, wait_for

PHOTO = {"file": toys.plain(128)}


def version(client, model="toy"):
    """Which version answers."""
    response = client.post("/predict", params={"model": model}, files=PHOTO)
    return response.json()["version"] if response.status_code == 200 else None


def refused(client):
    """The reasons for which versions were refused, by version."""
    return {entry["version"]: entry["reason"] for entry in client.get("/models").json()["refused"]}


def appear(root, name, number, data):
    """Publish as the export does: complete, by one rename."""
    staged = root / f".staging-{number}"
    staged.mkdir()
    (staged / "model.onnx").write_bytes(data)
    (root / name).mkdir(exist_ok=True)
    os.rename(staged, root / name / str(number))


def look(watcher):
    """Look at everything once, and load or remove what has changed."""
    watcher._load(watcher._notice())


def never_ends():
    """A toy behind a loop of 2^62 rounds."""
    model = toys.proto(head=False)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Cos", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    softmax = model.graph.node.pop()
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "rounds"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    model.graph.node.append(helper.make_node("Loop", ["rounds", "true", "logits"], ["looped"], body=body))
    softmax.input[0] = "looped"
    model.graph.node.append(softmax)
    return toys.serialize(model)


def eats_memory():
    """A toy with a constant of 2^40 numbers."""
    model = toys.proto(head=False)
    softmax = model.graph.node.pop()
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**40]), "size"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["size"], ["huge"]),
            helper.make_node("Gather", ["huge", "first"], ["zero"]),
            helper.make_node("Add", ["logits", "zero"], ["shifted"]),
        ]
    )
    softmax.input[0] = "shifted"
    model.graph.node.append(softmax)
    return toys.serialize(model)


def external_data():
    """A toy whose weights lie in another file."""
    model = toys.proto(head=False)
    tensor = next(one for one in model.graph.initializer if one.name == "weights")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")
    return toys.serialize(model)


def flipped():
    data = bytearray(toys.artifact())
    data[len(data) // 2] ^= 1
    return bytes(data)


def wrong_labels():
    return toys.serialize(toys.proto(text=toys.metadata(labels=("a", "b", "c")).dumps()))


BAD = {
    "empty": (b"", "not a multi-pool artifact"),
    "truncated": (toys.artifact()[:-100], "digest does not fit|not a multi-pool artifact"),
    "one bit flipped": (flipped(), "digest does not fit|not a multi-pool artifact"),
    "a web page": (b"<html>404</html>", "not a multi-pool artifact"),
    "external data": (external_data(), "refuses it"),
    "labels that do not fit": (wrong_labels(), "must be float32"),
    "a huge constant": (eats_memory(), "refuses it|does not run|memory"),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("watched")
    toys.publish(root, "toy", 1)
    with serving(root, MODELS_POLL_S=0.05) as client:
        client.root = root
        yield client


def test_a_new_version_takes_over_and_the_old_one_can_still_be_named(client):
    appear(client.root, "toy", 2, toys.artifact(offset=0.25))

    wait_for(lambda: version(client) == 2)
    client.log.wait_for("loaded toy:2 on CPUExecutionProvider, instead of version 1")
    assert version(client, "toy:1") == 1
    assert client.get("/models/toy").json()["versions"] == [1, 2]


def test_a_new_model_is_served(client):
    appear(client.root, "another", 1, toys.artifact(16, 16))

    wait_for(lambda: version(client, "another") == 1)
    shutil.rmtree(client.root / "another")
    wait_for(lambda: version(client, "another") is None)
    assert [model["name"] for model in client.get("/models").json()["models"]] == ["toy"]


@pytest.mark.parametrize("case", BAD)
def test_a_bad_version_is_refused_and_the_old_one_goes_on(client, case):
    data, words = BAD[case]
    appear(client.root, "toy", 3, data)

    reason = wait_for(lambda: refused(client).get(3))
    assert version(client) == 2
    assert client.get("/readyz").status_code == 200
    client.log.wait_for(f"refused toy:3: .*({words})")
    assert any(word in reason for word in words.split("|"))
    named = client.post("/predict?model=toy:3", content=toys.plain(1)).json()["detail"]
    assert named == f"version 3 of model 'toy' was refused: {reason}; it has 1, 2"
    shutil.rmtree(client.root / "toy" / "3")
    wait_for(lambda: not refused(client))


def test_a_version_that_arrives_in_pieces_is_served_when_it_is_whole(client):
    data = toys.artifact(offset=0.75)
    folder = client.root / "toy" / "4"
    folder.mkdir()
    *starts, last = range(0, len(data), len(data) // 4)
    with (folder / "model.onnx").open("wb") as file:
        for start in starts:
            file.write(data[start : start + len(data) // 4])
            file.flush()
            time.sleep(0.2)
            assert version(client) == 2
        file.write(data[last:])
    wait_for(lambda: version(client) == 4)
    assert refused(client) == {}


def test_a_version_that_is_deleted_gives_way_to_the_one_before(client):
    shutil.rmtree(client.root / "toy" / "4")

    wait_for(lambda: version(client) == 2)
    client.log.wait_for("removed toy:4; toy:2 answers now")
    assert version(client, "toy:4") is None


def test_going_back_is_no_removal_of_what_answered_before(client):
    """With the name that `train` proposes; a lower version that goes changes nothing for those who name none."""
    (client.root / "toy" / "1").rename(client.root / "toy" / "1.withdrawn")

    client.log.wait_for("removed toy:1\n")
    assert version(client) == 2
    assert "withdrawn" not in client.log.text


def test_when_everything_is_gone_what_is_loaded_goes_on(client):
    client.root.rename(client.root.with_name("elsewhere"))
    client.log.wait_for("nothing is loaded or removed")
    assert version(client) == 2
    client.root.with_name("elsewhere").rename(client.root)
    assert version(client) == 2


def test_a_model_that_hangs_is_given_up(tmp_path, monkeypatch):
    """In a process of its own, with a limit on its processor time; the service answers meanwhile."""
    monkeypatch.setattr(loading, "_TRIAL_S", 1)
    path = toys.publish(tmp_path, "toy", 1, never_ends())
    with pytest.raises(InvalidArtifact, match="not loaded and run within 1 s"):
        loading.Loader(device="cpu", threads=1, max_batch_size=2).open(path, frozenset())


def test_a_version_that_is_withdrawn_gives_way_while_another_model_is_tried(tmp_path):
    """Which may take a minute. Other models can be loaded by request meanwhile, too."""
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "toy", 2, toys.artifact(offset=0.25))
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, MODELS_POLL_S=0.1, ADMIN_KEY="an admin key that is long") as client:
        appear(tmp_path, "other", 2, never_ends())
        (endless,) = wait_for(lambda: children(client.process.pid))
        (tmp_path / "toy" / "2").rename(tmp_path / "toy" / "2.withdrawn")

        wait_for(lambda: version(client) == 1, 30)
        toys.publish(tmp_path, "toy", 3, toys.artifact(offset=0.75))
        order = client.build_request(
            "POST", "/v2/repository/models/toy/load", headers={"X-API-Key": "an admin key that is long"}
        )
        assert client.send(order).status_code == 200
        assert version(client) == 3
        assert endless in children(client.process.pid)
        assert version(client, "other") == 1


def test_a_model_that_is_replaced_answers_throughout(tmp_path, repository, monkeypatch):
    """Its only version goes when another comes; that one is tried before."""
    watcher = Watcher(repository, 1)
    toys.publish(tmp_path, "toy", 2)
    shutil.rmtree(tmp_path / "toy" / "1")
    served, admit = [], Repository.admit

    def admit_and_look(*arguments):
        watcher._notice()  # as goes on meanwhile
        served.append(repository.served.find("toy").number)
        return admit(*arguments)

    monkeypatch.setattr(Repository, "admit", admit_and_look)
    for _ in range(3):
        look(watcher)

    assert served == [1]
    assert [entry.number for entry in repository.entries()] == [2]


def test_a_model_is_not_blamed_for_a_signal_that_ends_its_trial(tmp_path):
    """As a signal does that is sent to the service's whole process group; the file is tried again."""
    path = toys.publish(tmp_path, "toy", 1, never_ends())
    with ThreadPoolExecutor(1) as pool:
        tried = pool.submit(loading.Loader(device="cpu", threads=1, max_batch_size=2).open, path, frozenset())
        process = wait_for(trial)
        wait_for(lambda: resource.prlimit(process, resource.RLIMIT_CORE) == (0, 0))  # no crash fills the disk
        os.kill(process, signal.SIGTERM)

        with pytest.raises(UnreadableArtifact, match="a signal has ended the process that tried it"):
            tried.result(60)


def trial():
    """The process that tries a file for this one."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for child in (thread / "children").read_text().split():
                if b"app.registry.trial" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    return None


def test_a_version_with_other_classes_is_warned_of(tmp_path):
    """It is served, as it may be meant; one with the same classes in another order is no surprise to clients."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, MODELS_POLL_S=0.1) as client:
        appear(tmp_path, "toy", 2, toys.artifact(labels=("bright", "dark")))
        wait_for(lambda: version(client) == 2)
        assert "other classes" not in client.log.text

        appear(tmp_path, "toy", 3, toys.artifact(labels=("dark", "light")))
        wait_for(lambda: version(client) == 3)

        client.log.wait_for("WARNING toy:3 has other classes than toy:2, which it takes over from; if that is not ")
        assert "rename the folder of version 3, for example to '3.withdrawn'" in client.log.text


def test_at_the_start_a_bad_version_is_passed_over_where_there_is_a_good_one(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "toy", 2, b"not a model")
    with serving(tmp_path) as client:
        assert version(client) == 1
        assert "not a multi-pool artifact" in refused(client)[2]


@pytest.mark.parametrize("target", ["other", "too-long" * 50])
def test_a_folder_that_cannot_be_read_holds_up_nothing_else(tmp_path, target):
    other, new = tmp_path / "models" / "other", tmp_path / "new"

    def lead_to(target):
        new.symlink_to(target)
        new.replace(other)  # at once: what is gone for two looks is forgotten

    toys.publish(tmp_path / "elsewhere", "other", 1)
    toys.publish(tmp_path / "models", "toy", 1)
    lead_to(tmp_path / "elsewhere" / "other")
    with serving(tmp_path / "models", MODELS_POLL_S=0.05) as client:
        lead_to(target)  # which nobody can read, not even root
        client.log.wait_for(f"{other} cannot be read: .*; nothing is loaded or removed there")
        assert scrape(client)["multipool_unreadable_folders",] == 1
        appear(tmp_path / "models", "toy", 2, toys.artifact(offset=0.25))
        wait_for(lambda: version(client) == 2)
        assert version(client, "other") == 1

        lead_to(tmp_path / "elsewhere" / "other")
        client.log.wait_for(f"{other} can be read again")
        assert version(client, "other") == 1
        assert scrape(client)["multipool_unreadable_folders",] == 0
        assert client.log.text.count("cannot be read") == 1


def test_when_everything_can_be_read_again_it_is_said(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, MODELS_POLL_S=0.05) as client:
        (tmp_path / "toy").rename(tmp_path / ".aside")
        client.log.wait_for("nothing is loaded or removed: .*holds no file")
        (tmp_path / ".aside").rename(tmp_path / "toy")
        client.log.wait_for("versions are loaded and removed again")
        assert version(client) == 1


def test_what_could_not_be_read_for_a_moment_is_read_when_it_can(tmp_path, monkeypatch, caplog):
    toys.publish(tmp_path, "toy", 1)
    repository = Repository(tmp_path, default=None, loader=loading.Loader(device="cpu", threads=1, max_batch_size=1))
    starting.load(repository)
    toys.publish(tmp_path, "toy", 2)
    watcher = Watcher(repository, 1)

    def fail(_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        for _ in range(3):
            look(watcher)
    assert repository.served.find("toy").number == 1
    assert caplog.text.count("refused toy:2: it cannot be read: Permission denied") == 1

    look(watcher)

    assert repository.served.find("toy").number == 2


@pytest.fixture
def repository(tmp_path):
    """What is loaded of a folder with one version."""
    toys.publish(tmp_path, "toy", 1)
    repository = Repository(tmp_path, default=None, loader=loading.Loader(device="cpu", threads=1, max_batch_size=1))
    starting.load(repository)
    return repository


def test_a_file_is_not_read_while_it_grows(tmp_path, repository, caplog):
    """Nor is anything said of it: no operator is to be woken for a slow copy."""
    watcher = Watcher(repository, 1)
    data = toys.artifact(offset=0.25)
    path = toys.publish(tmp_path, "toy", 2, b"")
    for end in (1, len(data) // 2, len(data)):
        path.write_bytes(data[:end])
        look(watcher)
        assert repository.served.find("toy").number == 1

    look(watcher)

    assert repository.served.find("toy").number == 2
    assert "refused" not in caplog.text


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_file_that_is_gone_for_a_moment_is_not_forgotten(tmp_path, repository, caplog, looks):
    """As while it is replaced by hand; however often the folder has been looked at before."""
    caplog.set_level("INFO")
    toys.publish(tmp_path, "another", 1)
    watcher, (path,) = Watcher(repository, 1), (tmp_path / "toy").glob("1/model.onnx")
    for _ in range(looks):
        look(watcher)
    path.rename(tmp_path / "aside")
    look(watcher)
    assert repository.served.find("toy").number == 1

    (tmp_path / "aside").rename(path)
    look(watcher)

    assert repository.served.find("toy").number == 1
    assert "removed" not in caplog.text


@pytest.mark.parametrize("kept", ["the time", "the place"])
def test_a_file_is_seen_to_be_another_although_it_is_as_large_and_something_else_is_as_it_was(
    tmp_path, repository, kept
):
    """As what an archive is unpacked to, with the times in it, or what is written over."""
    watcher, (entry,) = Watcher(repository, 1), repository.entries()
    path, new, before = entry.found.path, toys.artifact(offset=0.75), entry.found.path.stat()
    assert len(new) == before.st_size
    if kept == "the time":
        (tmp_path / "aside").write_bytes(new)
        os.utime(tmp_path / "aside", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "aside").replace(path)
    else:
        path.write_bytes(new)

    for _ in range(2):
        look(watcher)

    assert entry.card.sha256 == hashlib.sha256(new).hexdigest()


def test_a_file_that_is_replaced_while_it_is_loaded_is_loaded_again(tmp_path, repository, monkeypatch):
    watcher, load = Watcher(repository, 1), loading.Loader.open
    path, new = toys.publish(tmp_path, "toy", 2), toys.artifact(offset=0.75)

    def load_and_replace(loader, path, _):
        loaded = load(loader, path)
        (tmp_path / "aside").write_bytes(new)
        (tmp_path / "aside").replace(path)
        return loaded

    with monkeypatch.context() as slow:
        slow.setattr(loading.Loader, "open", load_and_replace)
        watcher.look("toy")
    assert repository.served.find("toy").card.sha256 != hashlib.sha256(path.read_bytes()).hexdigest()

    watcher.look("toy")

    assert repository.served.find("toy").card.sha256 == hashlib.sha256(new).hexdigest()


def test_what_was_seen_is_loaded_only_as_it_was_and_if_nobody_has_done_so_meanwhile(tmp_path, repository, caplog):
    """Before its turn comes, it may be written once more, or be loaded for an operator."""
    caplog.set_level("INFO", "app.repository")
    watcher, data = Watcher(repository, 1), toys.artifact(offset=0.25)
    path = toys.publish(tmp_path, "toy", 2, data)
    watcher._notice()
    seen = watcher._notice()
    path.write_bytes(data[:100])
    watcher._load(seen)
    assert caplog.text == ""

    path.write_bytes(data)
    watcher._notice()
    seen = watcher._notice()
    watcher.look("toy")
    watcher._load(seen)

    assert caplog.text.count("loaded toy:2") == 1


def test_a_look_at_one_model_removes_no_other(tmp_path, repository):
    watcher, other = Watcher(repository, 1), toys.publish(tmp_path, "other", 1)
    repository.admit(Found("other", 1, other), None)
    toys.publish(tmp_path, "other", 2)
    shutil.rmtree(other.parent)

    watcher.look("toy")

    assert [entry.number for entry in repository.entries() if entry.name == "other"] == [1]
    watcher.look("other")
    assert [entry.number for entry in repository.entries() if entry.name == "other"] == [2]


def test_what_keeps_it_from_looking_is_said_once_and_that_it_is_over_too(tmp_path, repository, caplog):
    caplog.set_level("INFO", "app.watching")
    watcher = Watcher(repository, 1)

    async def look_often():
        for _ in range(3):
            await watcher._try_to_look()

    (tmp_path / "toy").rename(tmp_path / ".aside")
    asyncio.run(look_often())
    (tmp_path / ".aside").rename(tmp_path / "toy")
    asyncio.run(look_often())

    said, over = caplog.messages
    assert said.startswith("nothing is loaded or removed: ")
    assert over == "versions are loaded and removed again"


def test_what_was_refused_is_tried_again_when_an_operator_asks_for_it(tmp_path, repository, monkeypatch):
    """Its trial may have failed because the machine was busy; nobody else asks twice for the same content."""
    watcher = Watcher(repository, 1)
    toys.publish(tmp_path, "toy", 2)
    with monkeypatch.context() as busy:
        busy.setattr(loading, "_TRIAL_S", 0)
        for _ in range(2):
            look(watcher)
    look(watcher)
    assert repository.served.find("toy").number == 1

    watcher.look("toy")

    assert repository.served.find("toy").number == 2


def test_a_look_that_fails_for_any_reason_is_not_the_last_one(tmp_path, repository, monkeypatch, caplog):
    toys.publish(tmp_path, "toy", 2)

    def refuse(_):
        raise RuntimeError("can't start new thread")

    async def scenario():
        looking = asyncio.create_task(Watcher(repository, 0.01).run())
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            while "can't start new thread" not in caplog.text:
                await asyncio.sleep(0.01)
        while repository.served.find("toy").number == 1:
            assert not looking.done()
            await asyncio.sleep(0.01)
        looking.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 30))
