"""Only artifacts of ours are loaded, and they say where they really run."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from app import devices, digest
from app.errors import DeviceUnavailable, InvalidArtifact
from app.model import Model
from tests import toys

no_cuda = pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is available")


def load(data, device="cpu"):
    return Model.load(data, device)


def damaged(change):
    """A toy whose graph was changed."""
    model = toys.proto()
    change(model)
    return toys.serialize(model)


def test_a_loaded_model_knows_its_shape_its_labels_and_its_digest():
    data = toys.artifact(8, 10, 5)

    model = load(data)

    assert model.shape == (8, 10, 5)
    assert model.metadata.labels == ("dark", "bright")
    assert len(model.sha256) == 64
    assert model.execution_provider == "CPUExecutionProvider"


def test_outputs_are_those_of_the_graph_in_the_models_order():
    batch = np.zeros((2, 8, 8, 3), np.uint8)
    batch[1, :4, :4] = 255  # the top left quadrant of the second image

    outputs = load(toys.artifact()).run(batch)

    assert [vector[1].tolist() for vector in outputs.features] == [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(outputs.logits[1], [8 * 0.25, -8 * 0.25], atol=1e-6)
    np.testing.assert_allclose(outputs.probabilities.sum(1), 1, atol=1e-6)


def test_the_answer_does_not_depend_on_the_batch():
    model = load(toys.artifact())
    batch = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), np.uint8)

    alone = np.concatenate([model.run(batch[i : i + 1]).logits for i in range(32)])

    np.testing.assert_allclose(model.run(batch).logits, alone, atol=1e-5)


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x00" * 1000, toys.artifact()[:500]])
def test_bytes_that_are_no_model(data):
    with pytest.raises(InvalidArtifact, match="not a multi-pool artifact"):
        load(data)


def test_an_onnx_model_that_is_not_ours():
    with pytest.raises(InvalidArtifact, match="not a multi-pool artifact"):
        load(damaged(lambda model: model.ClearField("metadata_props")))


def test_a_graph_that_onnx_runtime_does_not_know():
    with pytest.raises(InvalidArtifact, match="ONNX Runtime refuses it"):
        load(damaged(lambda model: setattr(model.graph.node[0], "op_type", "NoSuchOperator")))


def test_metadata_under_another_name():
    with pytest.raises(InvalidArtifact, match="has no metadata 'multipool'"):
        load(damaged(lambda model: setattr(model.metadata_props[0], "key", "other")))


def test_metadata_that_are_no_document():
    with pytest.raises(InvalidArtifact, match="its metadata is invalid"):
        load(toys.artifact(text=json.dumps({"digest": digest.UNSTAMPED}, separators=(",", ":"))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT32), "its input must be"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), "dynamic batch axis"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_param", "h"), "fixed height"),
        (lambda m: m.graph.output.pop(5), "no output 'features_bottom_right'"),
        (lambda m: m.graph.output.pop(0), "no output 'probabilities'"),
    ],
)
def test_a_graph_with_another_signature(change, message):
    with pytest.raises(InvalidArtifact, match=message):
        load(damaged(change))


def test_a_name_in_the_graph_that_is_not_utf_8():
    data = toys.proto().SerializeToString().replace(b"batch", b"\xffatch")

    with pytest.raises(InvalidArtifact, match="a name in its graph, is not UTF-8"):
        load(digest.stamp(data))


def test_labels_that_do_not_fit_the_outputs():
    text = toys.metadata(labels=("a", "b", "c")).dumps()

    with pytest.raises(InvalidArtifact, match=r"'probabilities' must be float32 \[batch, 3\]"):
        load(toys.artifact(text=text))


def test_external_data_are_refused(tmp_path):
    """A file cannot make the service read another file."""
    (tmp_path / "weights").write_bytes(b"\x00" * 4096)

    def point_outside(model):
        tensor = model.graph.initializer[1]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=str(tmp_path / "weights"))

    with pytest.raises(InvalidArtifact):
        load(damaged(point_outside))


def test_a_model_whose_answers_are_not_finite_does_not_warm_up():
    with pytest.raises(InvalidArtifact, match="not finite"):
        load(toys.artifact(gain=float("nan"))).warm_up([1])


def test_a_model_that_fails_when_it_runs_does_not_warm_up():
    def break_at_run_time(model):
        softmax = model.graph.node.pop()
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([7, 7, 7]), "wrong"))
        model.graph.node.append(helper.make_node("Reshape", ["logits", "wrong"], ["cube"]))
        model.graph.node.append(helper.make_node("ReduceMean", ["cube"], ["scalar"], keepdims=0))
        model.graph.node.append(helper.make_node("Mul", ["logits", "scalar"], ["product"]))
        softmax.input[0] = "product"
        model.graph.node.append(softmax)

    with pytest.raises(InvalidArtifact, match="does not run"):
        load(damaged(break_at_run_time)).warm_up([1])


def test_a_model_that_takes_no_more_than_one_image_at_once_does_not_warm_up():
    """Or whoever is asked for at the same time as another would get an error."""
    graph = (proto := toys.proto(head=False)).graph
    softmax = graph.node.pop()
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2]), "one"))
    graph.node.append(helper.make_node("Reshape", ["logits", "one"], ["reshaped"]))
    softmax.input[0] = "reshaped"
    graph.node.append(softmax)
    one, several = (Model.load(toys.serialize(proto), "cpu", largest_batch=largest) for largest in (1, 32))
    one.warm_up(one.batch_sizes)

    with pytest.raises(InvalidArtifact, match="does not run"):
        several.warm_up(several.batch_sizes)


@no_cuda
def test_cuda_is_never_replaced_silently():
    with pytest.raises(DeviceUnavailable, match="no CUDA execution provider"):
        load(toys.artifact(), "cuda")


def test_a_machine_without_a_driver_is_told_so(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [devices.CUDA, devices.CPU])
    monkeypatch.setattr(devices, "_DRIVER", "libno-such-driver.so.1")
    devices.why_no_cuda.cache_clear()
    try:
        with pytest.raises(DeviceUnavailable, match="there is no NVIDIA driver"):
            load(toys.artifact(), "cuda")
    finally:
        devices.why_no_cuda.cache_clear()
