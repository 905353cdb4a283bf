"""What lies in the model repository is served by name and version, or the start says what is wrong."""

import re
import tempfile
import threading
import time
from pathlib import Path

import pytest

from app import catalogue, devices, starting
from app.errors import InvalidArtifact, InvalidSettings, ModelNotFound, NothingToServe, NotReady
from app.registry import artifacts
from app.registry.artifacts import discover
from app.registry.loading import Loader
from app.repository import Repository
from app.watching import Watcher
from tests import toys
from tests.app.test_watching import look
from tests.conftest import closed


def loaded(root, default=None):
    repository = Repository(root, default=default, loader=loader())
    starting.load(repository)
    return repository


def loader(device="cpu"):
    return Loader(device=device, threads=1, max_batch_size=2)


def test_names_and_versions_are_found(models):
    assert [(name, version) for name, version, _ in discover(models)] == [
        ("bands", 1),
        ("brightness", 1),
        ("brightness", 2),
        ("grey", 7),
    ]


@pytest.mark.parametrize("name", ["Upper/1", ".hidden/1", "toy/v2", "toy/02", "toy/-1", "toy/.staging-3", "toy/0"])
def test_folders_named_otherwise_are_left_alone(tmp_path, name):
    toys.publish(tmp_path, "toy", 1)
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / "README").write_text("not a model")

    assert [(name, version) for name, version, _ in discover(tmp_path)] == [("toy", 1)]


@pytest.fixture
def at_every_look(monkeypatch):
    """What is passed over is looked for whenever anything is, and not only now and then."""
    monkeypatch.setattr(artifacts, "_RARITY", 0)


@pytest.mark.usefixtures("at_every_look")
def test_models_that_only_their_name_hides_are_told_of(tmp_path, caplog):
    for name in ("Fotos", "my photos", ".hidden"):
        toys.publish(tmp_path, name, 1)
    with pytest.raises(NothingToServe, match=r"passed over 'Fotos': the name of a model .* 'my photos'"):
        discover(tmp_path)
    for version in (1, "latest", "02", ".staging-1", "3.withdrawn"):
        toys.publish(tmp_path, "toy", version)
    (tmp_path / "Notes" / "1").mkdir(parents=True)

    models = loaded(tmp_path)
    models.folder.look()  # says nothing again

    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.partition(":")[0] for line in lines] == [
        "passed over 'Fotos'",
        "passed over 'my photos'",
        "passed over 'toy/02'",
        "passed over 'toy/latest'",
    ]
    assert all(line.endswith("rename the folder") for line in lines)


@pytest.mark.usefixtures("at_every_look")
def test_files_in_a_wrong_place_are_told_of(tmp_path, caplog):
    toys.publish(tmp_path, "toy", 1)
    for place in ("best.onnx", "grey/model.onnx", "toy/2/best.onnx", "toy/1/other.onnx", "toy/3.withdrawn/best.onnx"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(toys.artifact())

    models = loaded(tmp_path)
    models.folder.look()  # says nothing again

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "passed over 'best.onnx': it is in no version's folder; move it to <name>/<version>/model.onnx",
        "passed over 'grey/model.onnx': it is in no version's folder; move it to <name>/<version>/model.onnx",
        "passed over 'toy/2/best.onnx': the file of a version is named model.onnx; rename it",
    ]


def test_a_folder_in_the_place_of_a_models_file_is_told_of(tmp_path):
    """Docker makes one where a file that is to be mounted is not there."""
    (tmp_path / "toy" / "1" / "model.onnx").mkdir(parents=True)

    with pytest.raises(NothingToServe, match=r"passed over 'toy/1/model.onnx': it is not a file .* put the file there"):
        discover(tmp_path)


def test_what_is_passed_over_is_looked_for_again_but_rarely_where_that_takes_long(tmp_path, monkeypatch, caplog):
    toys.publish(tmp_path, "toy", 1)
    hidden = toys.publish(tmp_path, "Toy", 1).parents[1]
    hidden.rename(tmp_path / ".aside")

    def looked():
        folder = artifacts.Folder(tmp_path)
        folder.look()
        (tmp_path / ".aside").rename(hidden)
        return folder

    with monkeypatch.context() as long:
        long.setattr(artifacts, "_RARITY", 1e9)  # as if it had taken so long
        looked().look()
    assert not caplog.records

    hidden.rename(tmp_path / ".aside")
    folder, deadline = looked(), time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.02)
        folder.look()
    assert [record.getMessage()[:17] for record in caplog.records] == ["passed over 'Toy'"]


def test_the_folder_of_one_model_is_recognised(tmp_path):
    toys.publish(tmp_path, "toy", 1)

    with pytest.raises(NothingToServe, match=r"'1/model\.onnx': the folder is that of one model; set .* above it"):
        discover(tmp_path / "toy")


@pytest.mark.usefixtures("at_every_look")
@pytest.mark.parametrize("place", ["grey", "toy/2", "toy/2/model.onnx"])
def test_a_link_that_leads_nowhere_is_told_of(tmp_path, caplog, place):
    """As it does in a container, where what it leads to is outside the folder that is mounted."""
    toys.publish(tmp_path, "toy", 1)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to("/srv/nothing")

    models = loaded(tmp_path)
    models.folder.look()  # says nothing again

    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"passed over '{place}': it is a link, and what it leads to is not there ")
    assert models.served.versions("toy") == [1]


def test_the_highest_version_is_the_default(models):
    repository = loaded(models)

    assert repository.served.default == "bands"
    assert repository.served.find("brightness").number == 2
    assert repository.served.resolve("brightness:1").number == 1
    assert repository.served.versions("brightness") == [1, 2]
    highest = [(entry.name, entry.number) for entry in repository.served]
    assert highest == [("bands", 1), ("brightness", 2), ("grey", 7)]


def test_versions_are_ordered_as_numbers(tmp_path):
    for version in (9, 10):
        toys.publish(tmp_path, "toy", version)

    assert loaded(tmp_path).served.find("toy").number == 10


@pytest.mark.parametrize(
    "reference",
    ["nothing", "brightness:3", "brightness:0", "brightness:", "brightness:latest", "../brightness", "", "a" * 10_000],
)
def test_what_is_not_there_is_not_found(models, reference):
    with pytest.raises(ModelNotFound) as caught:
        loaded(models).served.resolve(reference)

    assert len(str(caught.value)) < 300


def test_not_ready_until_loaded(models):
    repository = Repository(models, default=None, loader=loader())

    assert not repository.ready
    assert "being loaded" in repository.reason
    starting.load(repository)
    assert repository.ready


@pytest.mark.skipif(devices.why_no_cuda() is None, reason="CUDA is available")
def test_auto_says_once_that_it_runs_on_the_cpu(models, caplog):
    caplog.set_level("INFO", "app.registry.loading")
    repository = Repository(models, default=None, loader=loader("auto"))

    starting.load(repository)

    assert {entry.card.execution_provider for entry in repository.served} == {"CPUExecutionProvider"}
    assert caplog.text.count("running on the CPU, because") == 1


def test_an_absent_and_an_empty_repository(tmp_path):
    with pytest.raises(NothingToServe, match="cannot be read: No such file or directory; set MULTIPOOL_MODELS_DIR"):
        loaded(tmp_path / "absent")
    with pytest.raises(NothingToServe, match="holds no"):
        loaded(tmp_path)


def test_a_broken_artifact_is_named(tmp_path):
    path = toys.publish(tmp_path, "toy", 1, b"not a model")

    with pytest.raises(InvalidArtifact, match=f"{path} cannot be served: it is not a multi-pool artifact"):
        loaded(tmp_path)


def test_versions_without_a_file_alone_are_nothing_to_serve(tmp_path):
    (tmp_path / "toy" / "1").mkdir(parents=True)

    with pytest.raises(NothingToServe, match="holds no <name>/<version>/model"):
        loaded(tmp_path)


def test_an_unknown_default(models):
    with pytest.raises(InvalidSettings, match=r"there is no model 'nothing'; there are bands, brightness, grey"):
        loaded(models, "nothing")


def test_the_list_is_of_one_moment(models):
    repository, done = loaded(models), threading.Event()

    def change():
        while not done.is_set():
            repository.unload("grey")
            repository.serve_again("grey")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(2000):
            assert {"bands", "brightness"} <= {one["name"] for one in catalogue.listing(repository)["models"]}
    finally:
        done.set()
        thread.join()


def test_a_folder_that_cannot_be_read_is_named_at_the_start(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    unreadable = tmp_path / "other"
    unreadable.symlink_to(unreadable)  # which nobody can read, not even root

    with pytest.raises(
        NothingToServe, match=f"'{unreadable}' cannot be read: .* let the service's user read it, or move"
    ):
        loaded(tmp_path)
    with pytest.raises(
        NothingToServe, match=f"'{unreadable}' .* let the service's user read it, or set MULTIPOOL_MODELS"
    ):
        loaded(unreadable)


def test_a_version_that_nobody_may_look_into_any_more_is_served_and_told_of(caplog):
    with tempfile.TemporaryDirectory() as root:
        for number in (1, 2):
            toys.publish(Path(root), "toy", number)
        repository, folder = loaded(Path(root)), Path(root, "toy", "2")
        watcher = Watcher(repository, 1)
        Path(root).chmod(0o755)
        with closed(folder):
            for _ in range(2):
                look(watcher)
            with pytest.raises(NothingToServe, match=f"'{folder}' cannot be read: Permission denied; let the service"):
                discover(Path(root))

    assert repository.served.find("toy").number == 2
    assert f"{folder} cannot be read: Permission denied; nothing is loaded or removed there" in caplog.text


def two(root, default=None):
    """A repository of ``one`` and ``two``, ready."""
    toys.publish(root, "one", 1)
    toys.publish(root, "two", 1)
    return loaded(root, default)


def test_a_default_that_changes_by_itself_is_said(tmp_path, caplog):
    repository = two(tmp_path)
    assert caplog.text == ""

    repository.unload("one")

    assert repository.served.resolve(None).name == "two"
    assert "answered by 'two' from now on, instead of 'one'; set MULTIPOOL_DEFAULT_MODEL" in caplog.text


def test_a_default_that_was_chosen_does_not_change(tmp_path, caplog):
    repository = two(tmp_path, "one")

    repository.unload("one")

    with pytest.raises(ModelNotFound, match="the default model 'one' was unloaded; name another"):
        repository.served.resolve(None)
    with pytest.raises(ModelNotFound, match="model 'one' was unloaded; POST /v2/repository/models/NAME/load"):
        repository.served.resolve("one")
    assert "the default model 'one' was unloaded" in caplog.text
    repository.serve_again("one")
    repository.remove(repository.served.find("one"))
    with pytest.raises(ModelNotFound, match="the default model 'one' is not in the model repository"):
        repository.served.resolve(None)
    assert "from now on" not in caplog.text


def test_a_default_version_that_goes_gives_way_to_no_other_of_its_model(tmp_path):
    """And what there is can still be listed."""
    repository = two(tmp_path, "one:1")
    toys.publish(tmp_path, "one", 2)
    repository.admit(discover(tmp_path)[1], None)

    repository.remove(repository.served.resolve(None))

    with pytest.raises(ModelNotFound, match="the default model 'one:1' is not in the model repository"):
        repository.served.resolve(None)
    listed = catalogue.listing(repository)
    assert (listed["default"], listed["default_version"]) == ("one", None)
    assert [(one["name"], one["version"]) for one in listed["models"]] == [("one", 2), ("two", 1)]


def test_why_a_model_is_not_served_is_what_is_wrong_with_its_highest_version(tmp_path):
    repository = two(tmp_path)
    toys.publish(tmp_path, "toy", 9, b"not a model")
    toys.publish(tmp_path, "toy", 10, toys.artifact(gain=float("nan")))
    for found in discover(tmp_path)[1:3]:
        repository.admit(found, None)

    with pytest.raises(ModelNotFound, match=r"no version of model 'toy' can .*; the highest was refused: .*finite"):
        repository.served.resolve("toy")
    with pytest.raises(ModelNotFound, match="there is no model 'to'; GET /models lists those there are"):
        repository.served.resolve("to")


def test_no_version_takes_over_from_a_higher_one_nor_while_the_first_are_loaded(tmp_path, caplog):
    caplog.set_level("INFO", "app.repository")
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "toy", 3, toys.artifact(labels=("dark", "light")))
    repository = loaded(tmp_path)
    toys.publish(tmp_path, "toy", 2)

    repository.admit(discover(tmp_path)[1], None)

    assert repository.served.find("toy").number == 3
    assert re.findall(r"loaded (toy:\d) on CPUExecutionProvider\n", caplog.text) == ["toy:1", "toy:3", "toy:2"]
    assert "takes over" not in caplog.text


def test_the_first_default_after_none_takes_over_from_nobody(tmp_path, caplog):
    repository = two(tmp_path)
    for name in ("one", "two"):
        repository.unload(name)
    caplog.clear()

    repository.serve_again("two")

    (line,) = caplog.messages
    assert line.endswith("are answered by 'two' from now on; set MULTIPOOL_DEFAULT_MODEL to have it stay")


def test_when_every_model_was_unloaded_it_is_said_how_to_load_one(tmp_path):
    repository = two(tmp_path)

    repository.unload("one")
    repository.unload("two")

    with pytest.raises(NotReady, match="no model is served: one, two unloaded; POST /v2/repository/models/NAME/load"):
        repository.served.resolve(None)
