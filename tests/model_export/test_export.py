"""Conversion, verification and publishing: only what answers like Keras appears, whole, as the next version."""

import errno
import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from tf2onnx.graph import Graph
from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase

from app.errors import MultipoolError
from app.images import Shape
from app.metadata import Branch, Metadata, Recipe
from app.model import Model
from app.registry.artifacts import discover
from model_export import architectures, conversion, publishing, verification
from model_export.architectures import build
from model_export.errors import ParityFailure
from model_export.networks import trunks
from model_export.networks.heads import HEADS
from model_export.networks.trunks import TRUNKS
from tests import toys
from tests.conftest import ROOT

SHAPE = Shape(16, 18, 3)


def trained(architecture="regions", trunk="batchnorm", shape=SHAPE):
    """A network whose weights are all different from their start, and its document."""
    network = build(architecture, trunk, shape, 3)
    random = np.random.default_rng(0)
    for layer in network.model.layers:
        layer.set_weights([weight + random.uniform(0, 0.02, weight.shape) for weight in layer.get_weights()])
    document = Metadata(
        architecture=architecture,
        labels=("a", "b", "c"),
        branches=network.branches,
        recipe=Recipe(),
        feature_map=network.feature_map,
    )
    return network, document


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    network, document = trained()
    path = tmp_path_factory.mktemp("converted") / "model.onnx"
    conversion.save(conversion.convert(network, document), path)
    return path, network


@pytest.fixture
def staged(converted):
    """A converted file, and the network that it is of, whose weights a test may change."""
    _, network = converted
    weights = network.model.get_weights()
    yield converted
    network.model.set_weights(weights)


FOUR_BRANCHES = ("channel-groups", "separable", "regions")
EVERYTHING = [(name, trunk, channels) for name in FOUR_BRANCHES for trunk in TRUNKS for channels in (1, 3, 13)]
EVERYTHING += [(name, "batchnorm", 3) for name in HEADS if name not in FOUR_BRANCHES]


@pytest.mark.parametrize(("architecture", "trunk", "channels"), EVERYTHING)
def test_onnx_answers_like_keras_and_a_gpu_can_run_all_of_the_graph(tmp_path, architecture, trunk, channels):
    network, document = trained(architecture, trunk, Shape(16, 18, channels))
    path = tmp_path / "model.onnx"
    proto = conversion.convert(network, document)
    conversion.save(proto, path)

    differences = verification.verify(path, conversion.outputs(network), ())

    # ONNX Runtime leaves arithmetic on sizes to the CPU, and the service runs a model on a GPU whole or not at all.
    assert "Shape" not in {node.op_type for node in proto.graph.node}
    assert {d.batch for d in differences} == {1, 7, 32}
    names = {"probabilities", "logits", *(branch.output for branch in network.branches)}
    if "dense" not in architecture:
        names |= {branch.maps_output for branch in network.branches}
    assert {d.output for d in differences} == names
    assert max(d.largest / d.scale for d in differences) < 1e-4
    Model.load(path.read_bytes(), "cpu").warm_up([1, 2])


def test_the_artifact_has_the_signature_of_the_contract(staged):
    model = onnx.load(staged[0])

    onnx.checker.check_model(model, full_check=True)
    (image,) = model.graph.input
    dimensions = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, dimensions) == ("image", ["batch", 16, 18, 3])
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in model.graph.output] == [
        "probabilities",
        "logits",
        "features_top_left",
        "features_top_right",
        "features_bottom_left",
        "features_bottom_right",
        "maps_top_left",
        "maps_top_right",
        "maps_bottom_left",
        "maps_bottom_right",
        "head_kernel",
        "head_bias",
    ]
    assert {output.type.tensor_type.shape.dim[0].dim_param for output in model.graph.output[:10]} == {"batch"}
    assert [entry.key for entry in model.metadata_props] == ["multipool"]


def test_no_node_of_the_graph_would_fall_back_to_the_cpu(staged):
    """ONNX Runtime puts shape arithmetic on the CPU, which a session on CUDA alone then refuses."""
    operators = {node.op_type for node in onnx.load(staged[0]).graph.node}

    assert not operators & {"Shape", "Size", "Gather", "Range", "NonZero", "Loop", "If"}


def test_what_the_branches_pool_is_where_their_region_says(staged):
    """A bright spot in one quadrant is in that quadrant's maps alone, and pooling them gives the features."""
    model = Model.load(staged[0].read_bytes(), "cpu")
    image = np.random.default_rng(0).integers(0, 256, (2, 16, 18, 3), np.uint8)

    outputs, maps = model.run_with_maps(image)

    assert [branch.region for branch in model.metadata.branches] == [
        (0, 0, 0.5, 0.5),
        (0, 0.5, 0.5, 1),
        (0.5, 0, 1, 0.5),
        (0.5, 0.5, 1, 1),
    ]
    for branch, found, vector in zip(model.metadata.branches, maps, outputs.features, strict=True):
        assert found.shape == (2, 1, 1, branch.width)
        pooled = found.mean((1, 2)) if branch.pooling == "average" else found.max((1, 2))
        np.testing.assert_allclose(pooled, vector, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("between", ["dense", "activation", "nothing", "dropout"])
def test_a_network_with_anything_between_pools_and_logits_is_exported_without_an_explanation(tmp_path, between):
    image = keras.Input((16, 16, 3), name="image", dtype="uint8")
    features = trunks.plain(keras.layers.Rescaling(1 / 255)(image))
    pooled = [keras.layers.GlobalMaxPooling2D(name=f"branch_{i}")(features) for i in (1, 2)]
    x = keras.layers.Concatenate()(pooled)
    if between == "dense":
        x = keras.layers.Dense(4)(x)
    elif between == "dropout":
        x = keras.layers.Dropout(0.5)(x)
    activation = "tanh" if between == "activation" else None
    network = architectures.Network(
        keras.Model(image, keras.layers.Dense(3, name="logits", activation=activation)(x)),
        tuple(Branch(name=f"branch_{i}", pooling="max", source="everything", width=64) for i in (1, 2)),
        (8, 8, 64),
    )
    document = Metadata(architecture="toy", labels=("a", "b", "c"), branches=network.branches, recipe=Recipe())
    path = tmp_path / "model.onnx"
    conversion.save(conversion.convert(network, document), path)

    verification.verify(path, conversion.outputs(network), ())
    model = Model.load(path.read_bytes(), "cpu")
    model.warm_up([1])

    assert (model.head is not None) == model.has_maps == (between in ("nothing", "dropout"))


def test_a_trunk_whose_scaling_holds_constants_needs_nothing_but_the_image(tmp_path):
    network = build("gap", "vgg16", Shape(32, 32, 3), 3)
    document = Metadata(architecture="gap", labels=("a", "b", "c"), branches=network.branches, recipe=Recipe())
    conversion.save(conversion.convert(network, document), tmp_path / "model.onnx")

    verification.verify(tmp_path / "model.onnx", conversion.outputs(network), ())


def test_copies_of_a_graph_do_not_pile_up_during_conversion(monkeypatch):
    """tf2onnx makes one for each of its passes, with all weights: ResNet101 took 11 GB of memory."""
    optimize, living = GraphOptimizerBase.optimize, []

    def count(*arguments):
        living.append(sum(isinstance(one, Graph) for one in gc.get_objects()))
        return optimize(*arguments)

    network = build("gap", "mobilenetv3small", Shape(32, 32, 3), 3)
    document = Metadata(architecture="gap", labels=("a", "b", "c"), branches=network.branches, recipe=Recipe())
    monkeypatch.setattr(GraphOptimizerBase, "optimize", count)
    before = gc.get_threshold()
    conversion.convert(network, document)

    assert len(living) > 20
    assert max(living) < 8
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


@pytest.mark.parametrize("architecture", ["channel-groups", "separable", "regions"])
def test_nothing_is_done_for_maps_that_nobody_asks_for(architecture):
    graph = conversion.convert(*trained(architecture, shape=Shape(32, 48, 3))).graph
    made_by = {name: node for node in graph.node for name in node.output}

    def needed(name):
        node = made_by.get(name)
        return {name} if node is None else {name}.union(*(needed(other) for other in node.input))

    assert not {name for name in needed("probabilities") if name.startswith("maps_")}
    constants = {constant.name for constant in graph.initializer}
    assert constants <= {name for node in graph.node for name in node.input}  # ONNX Runtime warns of any other


def test_image_bytes_go_through_verification(staged):
    path, network = staged
    sample = tuple(toys.save(np.full((30, 30, 3), value, np.uint8), "JPEG") for value in range(0, 250, 10))

    assert verification.verify(path, conversion.outputs(network), sample)


def test_one_changed_weight_is_a_parity_failure(staged):
    path, network = staged
    kernel = network.model.get_layer("logits").kernel
    kernel.assign(kernel + np.eye(*kernel.shape) * 1e-3)

    with pytest.raises(ParityFailure, match=r"differ by .* in 'logits' at batch"):
        verification.verify(path, conversion.outputs(network), ())


def test_another_winner_is_a_parity_failure(staged, monkeypatch):
    path, network = staged
    monkeypatch.setattr(verification, "TOLERANCE", 1e3)
    network.model.get_layer("logits").bias.assign([0, 100, 0])

    with pytest.raises(ParityFailure, match="disagree about the most probable class"):
        verification.verify(path, conversion.outputs(network), ())


def test_an_answer_that_is_not_a_number_is_a_parity_failure():
    with pytest.raises(ParityFailure, match="differ by nan"):
        verification._judge([verification.Difference("logits", 1, float("nan"))])


def test_a_disk_that_is_full_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    """A comparison that is gone on with would take it for a whole one."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        conversion.save(toys.proto(), tmp_path / "model.onnx")

    assert not (tmp_path / "model.onnx").exists()


def put(repository, name="toy", content=b"model"):
    with publishing.staging(repository, name) as folder:
        (folder / publishing.FILE).write_bytes(content)
        return publishing.publish(folder, lambda number: (folder / "number").write_text(str(number)))


def test_versions_count_up_and_nothing_else_is_left(tmp_path):
    assert [put(tmp_path).name for _ in range(3)] == ["1", "2", "3"]

    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == [".highest", "1", "2", "3"]
    assert (tmp_path / "toy" / "3" / "model.onnx").read_bytes() == b"model"
    assert (tmp_path / "toy" / "3" / "number").read_text() == "3"


def test_the_folder_of_all_models_need_not_exist(tmp_path):
    assert put(tmp_path / "new" / "models") == tmp_path / "new" / "models" / "toy" / "1"


def test_a_gap_is_not_filled(tmp_path):
    toys.publish(tmp_path, "toy", 9)

    assert put(tmp_path).name == "10"


def test_the_number_of_a_version_that_was_removed_is_not_used_again(tmp_path):
    """Whoever has pinned toy:2 would get other weights under the same number."""
    put(tmp_path), put(tmp_path)
    shutil.rmtree(tmp_path / "toy" / "2")

    assert put(tmp_path).name == "3"
    for version in ("1", "3"):
        shutil.rmtree(tmp_path / "toy" / version)
    assert put(tmp_path).name == "4"
    assert [(found.name, found.number) for found in discover(tmp_path)] == [("toy", 4)]


@pytest.mark.parametrize("name", ["2.withdrawn", "2.bad.backup"])
def test_the_number_of_a_version_that_was_withdrawn_is_not_used_again_though_nothing_is_recorded(tmp_path, name):
    """As in a folder that was copied without its hidden file."""
    (tmp_path / "toy" / name).mkdir(parents=True)

    assert put(tmp_path).name == "3"


@pytest.mark.parametrize("name", ["20261129152205", "backup", "07"])
def test_a_folder_whose_name_is_no_version_has_no_number(tmp_path, name):
    """The service would pass over version 20261129152206."""
    (tmp_path / "toy" / name).mkdir(parents=True)

    assert put(tmp_path).name == "1"


def test_after_the_highest_number_that_the_service_reads_there_is_none(tmp_path):
    (tmp_path / "toy" / "999999999").mkdir(parents=True)

    with pytest.raises(MultipoolError, match=r"no version can follow 999999999 in \S+/toy; publish under"):
        put(tmp_path)


@pytest.mark.parametrize("nonsense", [b"", b"many", b"-3", b"0", b"\xff\xfe", b"1\n", b"9" * 30])
def test_what_is_nonsense_in_the_note_of_the_highest_number_does_not_count(tmp_path, nonsense):
    put(tmp_path), put(tmp_path)
    (tmp_path / "toy" / ".highest").write_bytes(nonsense)

    assert put(tmp_path).name == "3"


def test_a_publication_that_fails_at_the_last_moment_leaves_no_number_to_be_used_twice(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    put(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space left"):
            put(tmp_path)

    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == [".highest", "1"]
    assert put(tmp_path).name == "3"


def test_a_failure_while_staging_leaves_nothing(tmp_path):
    def fail():
        with publishing.staging(tmp_path, "toy") as folder:
            (folder / publishing.FILE).write_bytes(b"half")
            raise ParityFailure

    with pytest.raises(ParityFailure):
        fail()
    assert list(tmp_path.iterdir()) == []


STAGES = """
import sys, time
from pathlib import Path
from model_export import publishing
with publishing.staging(Path(sys.argv[1]), "toy") as folder:
    (folder / "model.onnx").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def stage(tmp_path):
    """Start a process that stages; returns it and its folder."""
    started = []

    def start():
        command = [sys.executable, "-c", STAGES, tmp_path]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return started[-1], Path(started[-1].stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_needs_is_not(tmp_path, stage):
    killed, left = stage()
    living, used = stage()
    killed.kill()
    killed.wait()
    assert left.is_dir()

    put(tmp_path)
    assert (used / "model.onnx").read_bytes() == b"half"
    living.kill()
    living.wait()
    put(tmp_path)

    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == [".highest", "1", "2"]


def test_who_ends_first_takes_no_folder_away_that_another_is_about_to_use(tmp_path, monkeypatch):
    make = tempfile.mkdtemp

    def late(**options):
        monkeypatch.undo()
        publishing.check(tmp_path, "toy")  # as another process may, in between
        return make(**options)

    monkeypatch.setattr(tempfile, "mkdtemp", late)

    assert put(tmp_path).name == "1"


def test_where_folders_cannot_be_locked_nothing_is_removed(tmp_path, monkeypatch):
    """Nobody can tell then whether a folder is used."""

    def unable(*_):
        raise OSError(errno.EBADF, "Bad file descriptor")

    (tmp_path / "toy" / ".staging-x").mkdir(parents=True)
    monkeypatch.setattr(fcntl, "flock", unable)

    assert put(tmp_path).name == "1"
    assert (tmp_path / "toy" / ".staging-x").is_dir()


def test_exports_at_once_get_versions_of_their_own(tmp_path):
    threads = [threading.Thread(target=put, args=(tmp_path, "toy", str(i).encode())) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(path.read_text() == path.parent.name for path in tmp_path.glob("toy/*/number"))
    contents = {path.read_bytes() for path in tmp_path.glob("toy/*/model.onnx")}
    assert contents == {str(i).encode() for i in range(8)}
    numbers = [found.number for found in discover(tmp_path)]
    shutil.rmtree(tmp_path / "toy" / str(max(numbers)))
    assert int(put(tmp_path).name) > max(numbers)


def test_a_published_file_can_be_read_by_another_user(tmp_path):
    repository = tmp_path / "models"
    before = os.umask(0o077)
    try:
        published = put(repository)
    finally:
        os.umask(before)

    for folder in (published, repository / "toy", repository):
        assert os.stat(folder).st_mode & 0o777 == 0o755
    for file in (published / "model.onnx", repository / "toy" / ".highest"):
        assert os.stat(file).st_mode & 0o777 == 0o644


def test_who_shares_a_repository_with_a_group_goes_on_to_share_it(tmp_path):
    before = os.umask(0o002)
    try:
        put(tmp_path / "models")
    finally:
        os.umask(before)

    for folder in (tmp_path / "models" / "toy", tmp_path / "models"):
        assert os.stat(folder).st_mode & 0o777 == 0o775
    (tmp_path / "models").chmod(0o700)  # as somebody may have wanted it since
    put(tmp_path / "models")
    assert os.stat(tmp_path / "models").st_mode & 0o777 == 0o700
