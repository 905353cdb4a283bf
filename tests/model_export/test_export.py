"""Conversion, verification and publishing: only what answers like Keras appears, whole, as the next version."""

import os
import threading

import numpy as np
import onnx
import pytest

from app.images import Shape
from app.metadata import Metadata, Recipe
from model_export import conversion, publishing, verification
from model_export.architectures import ARCHITECTURES, TRUNKS, build
from model_export.errors import ParityFailure
from tests import toys

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


@pytest.fixture
def staged(tmp_path):
    network, document = trained()
    path = tmp_path / "model.onnx"
    conversion.save(conversion.convert(network, document), path)
    return path, network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_onnx_answers_like_keras(tmp_path, architecture, trunk, channels):
    network, document = trained(architecture, trunk, Shape(16, 18, channels))
    path = tmp_path / "model.onnx"
    conversion.save(conversion.convert(network, document), path)

    differences = verification.verify(path, conversion.outputs(network), ())

    assert {d.batch for d in differences} == {1, 7, 32}
    names = {"probabilities", "logits", *(branch.output for branch in network.branches)}
    assert {d.output for d in differences} == names
    assert max(d.largest for d in differences) < 1e-4


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
        "head_kernel",
        "head_bias",
    ]
    assert {output.type.tensor_type.shape.dim[0].dim_param for output in model.graph.output[:6]} == {"batch"}
    assert [entry.key for entry in model.metadata_props] == ["multipool"]


def test_no_node_of_the_graph_would_fall_back_to_the_cpu(staged):
    """ONNX Runtime puts shape arithmetic on the CPU, which a session on CUDA alone then refuses."""
    operators = {node.op_type for node in onnx.load(staged[0]).graph.node}

    assert not operators & {"Shape", "Size", "Gather", "Range", "NonZero", "Loop", "If"}


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


def put(repository, name="toy", content=b"model"):
    with publishing.staging(repository, name) as folder:
        (folder / publishing.FILE).write_bytes(content)
        return publishing.publish(folder)


def test_versions_count_up_and_nothing_else_is_left(tmp_path):
    assert [put(tmp_path).name for _ in range(3)] == ["1", "2", "3"]

    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == ["1", "2", "3"]
    assert (tmp_path / "toy" / "3" / "model.onnx").read_bytes() == b"model"


def test_a_gap_is_not_filled(tmp_path):
    toys.publish(tmp_path, "toy", 9)

    assert put(tmp_path).name == "10"


def test_a_failure_while_staging_leaves_nothing(tmp_path):
    def fail():
        with publishing.staging(tmp_path, "toy") as folder:
            (folder / publishing.FILE).write_bytes(b"half")
            raise ParityFailure

    with pytest.raises(ParityFailure):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_exports_at_once_get_versions_of_their_own(tmp_path):
    threads = [threading.Thread(target=put, args=(tmp_path, "toy", str(i).encode())) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    contents = {path.read_bytes() for path in tmp_path.glob("toy/*/model.onnx")}
    assert contents == {str(i).encode() for i in range(8)}


def test_a_published_file_can_be_read_by_another_user(tmp_path):
    before = os.umask(0o077)
    try:
        published = put(tmp_path)
    finally:
        os.umask(before)

    assert os.stat(published).st_mode & 0o777 == 0o755
    assert os.stat(published / "model.onnx").st_mode & 0o777 == 0o644
