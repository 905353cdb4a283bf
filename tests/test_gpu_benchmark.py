"""``python -m benchmarks.gpu`` measures what can be measured, says what cannot, and leaves its report in any case."""

import json
import subprocess
import sys
import threading

import pytest

from app import sessions
from benchmarks import feeds, gpu, sidebyside
from tests import toys
from tests.conftest import ROOT

ARGUMENTS = ("--rehearse", "--largest", "2", "--seconds", "0.01")
WITHOUT_THE_SERVICE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fastapi", "onnx", "pydantic", "PIL", "starlette", "uvicorn", "uvloop"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
from benchmarks.gpu import main
sys.exit(main())
"""


@pytest.fixture
def model(tmp_path):
    toys.publish(tmp_path / "models", "toy")
    return tmp_path / "models" / "toy" / "1" / "model.onnx"


def ask(tmp_path, *arguments):
    """Run it; returns the process and the report."""
    output = tmp_path / "gpu.json"
    command = [sys.executable, *arguments, *ARGUMENTS, "--output", output]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done, json.loads(output.read_text())


def test_a_rehearsal_goes_through_all_that_a_cpu_can_do(model, tmp_path):
    done, report = ask(tmp_path, "-m", "benchmarks.gpu", model)

    assert report["failed"] == {}
    found = report["models"][str(model)]
    assert found["parity"]["provider"] == "CPUExecutionProvider"
    assert {"probabilities", "logits", "features_top_left", "maps_top_left"} <= set(found["parity"]["outputs"])
    assert list(found["parity"]["batch sizes"]) == ["1", "2"]
    assert found["parity"]["threads at once"] < 1e-5
    assert set(found["ways"]) == {"plain", "I/O binding", "float16"}
    assert report["HTTP"][str(tmp_path / "models")]["toy, 16 connections"]["requests/s"] > 0
    assert done.returncode == 0, done.stderr


def test_it_takes_onnx_runtime_and_numpy_alone_and_names_what_it_could_not_measure(model, tmp_path):
    done, report = ask(tmp_path, "-c", WITHOUT_THE_SERVICE, model)

    assert done.returncode == 1, done.stderr
    assert set(report["failed"]) == {f"models, {model}, ways, float16", f"HTTP, {tmp_path / 'models'}"}
    assert "onnx" in report["failed"][f"models, {model}, ways, float16"]
    assert max(report["models"][str(model)]["parity"]["outputs"].values()) == 0
    assert "not measured: HTTP" in done.stdout


def test_a_file_that_is_no_model_holds_up_no_other(model, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")

    done, report = ask(tmp_path, "-m", "benchmarks.gpu", broken, model)

    assert done.returncode == 1
    assert f"models, {broken}, parity" in report["failed"]
    assert "parity" in report["models"][str(model)]


@pytest.mark.parametrize("difference", [0.5, float("inf")])
def test_outputs_that_differ_are_a_failure_and_the_report_is_there_all_the_same(
    model, tmp_path, monkeypatch, difference
):
    monkeypatch.setattr(sidebyside, "_difference", lambda *_: difference)
    monkeypatch.setattr(gpu, "over_http", lambda *_: {})
    monkeypatch.setattr(sys, "argv", ["gpu", str(model), *ARGUMENTS, "--output", str(tmp_path / "gpu.json")])

    assert gpu.main() == 65

    report = json.loads((tmp_path / "gpu.json").read_text(), parse_constant=pytest.fail)
    assert report["models"][str(model)]["parity"]["outputs"]["logits"] in (0.5, "not finite")
    assert "plain" in report["models"][str(model)]["ways"]


def test_threads_that_spoil_each_others_answers_are_a_failure(model, tmp_path, monkeypatch):
    run, main = feeds.Feed.run, threading.main_thread()

    def spoilt(self, *arguments):
        return [value + 0.5 * (threading.current_thread() is not main) for value in run(self, *arguments)]

    monkeypatch.setattr(feeds.Feed, "run", spoilt)
    monkeypatch.setattr(gpu, "over_http", lambda *_: {})
    monkeypatch.setattr(sys, "argv", ["gpu", str(model), *ARGUMENTS, "--output", str(tmp_path / "gpu.json")])

    assert gpu.main() == 65

    found = json.loads((tmp_path / "gpu.json").read_text())["models"][str(model)]["parity"]
    assert max(found["outputs"].values()) == 0
    assert found["threads at once"] > 0.1


def test_without_cuda_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.devices, "why_no_cuda", lambda: "there is no NVIDIA driver")
    monkeypatch.setattr(sys, "argv", ["gpu", "a/model.onnx", "--output", str(tmp_path / "gpu.json")])

    assert gpu.main() == 69
    assert "there is no NVIDIA driver; --rehearse goes through it on the CPU" in capsys.readouterr().err


def test_it_measures_with_the_options_of_the_service():
    assert feeds.SERVED == sessions._CUDA_OPTIONS
    assert (feeds.FLOAT16, feeds.FOR_FLOAT16) == (sessions._FLOAT16, sessions._FOR_FLOAT16)
