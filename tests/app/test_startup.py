"""A start that cannot succeed says why in one line and ends with the right code."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import onnxruntime as ort
import pytest

from app import digest
from tests import toys
from tests.app.test_predictions import assert_problem
from tests.conftest import ROOT, START_LIMIT_S, Log, serving, start, wait_until_ready


def ended(process):
    """Wait for the end; returns the exit code and what was said."""
    process.wait(START_LIMIT_S)  # a name server that cannot be reached takes its time, too
    text = process.log_path.read_text()
    process.log_path.unlink()
    assert "Traceback" not in text
    return process.returncode, [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("workers", [1, 2])
def test_models_that_are_not_ours(tmp_path, workers):
    path = toys.publish(tmp_path, "broken", 1, b"not a model")

    code, errors = ended(start(tmp_path, WORKERS=workers))

    assert code == 65
    assert errors == [error for error in errors if str(path) in error and "not a multi-pool artifact" in error]
    assert len(errors) == 1
    assert "REQUIRE_ALL_MODELS" not in errors[0]  # there is nothing else to serve


def test_a_model_that_keeps_others_from_being_served(tmp_path):
    path = toys.publish(tmp_path, "broken", 1, b"not a model")
    toys.publish(tmp_path, "good")

    code, errors = ended(start(tmp_path))

    assert code == 65
    assert str(path) in errors[0]
    assert errors[0].endswith("; remove it, or set MULTIPOOL_REQUIRE_ALL_MODELS=false to serve the rest")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_can_be_served_is_served_if_not_all_models_are_required(tmp_path, workers):
    toys.publish(tmp_path, "broken", 1, b"not a model")
    toys.publish(tmp_path, "good")

    with serving(tmp_path, WORKERS=workers, REQUIRE_ALL_MODELS="false", DEFAULT_MODEL="broken") as client:
        assert "MULTIPOOL_REQUIRE_ALL_MODELS=false" in client.log.text
        assert client.get("/readyz").status_code == 200
        assert client.get("/models").json()["refused"][0]["name"] == "broken"
        image = {"content": toys.plain(100), "headers": {"Content-Type": "image/png"}}
        assert client.post("/predict?model=good", **image).status_code == 200
        unnamed = assert_problem(client.post("/predict", **image), 404, "model_not_found")
        named = assert_problem(client.post("/predict?model=broken", **image), 404, "model_not_found")

        assert unnamed["detail"].startswith("the default model 'broken' is not in the model repository, or was refused")
        assert named["detail"].startswith("no version of model 'broken' can be served; the highest was refused: it is")


def test_at_least_one_model_is_required(tmp_path):
    toys.publish(tmp_path, "broken", 1, b"not a model")

    code, errors = ended(start(tmp_path, REQUIRE_ALL_MODELS="false"))

    assert code == 66
    assert "holds nothing that can be served" in errors[0]


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"MODELS_DIR": "/nonexistent"}, 66, "cannot be read: No such file or directory; set MULTIPOOL_MODELS_DIR"),
        ({"MODELS_DIR": "README.md"}, 66, "cannot be read: Not a directory; set MULTIPOOL_MODELS_DIR"),
        ({"PORT": "ninety"}, 78, "MULTIPOOL_PORT"),
        ({"COLOUR": "red"}, 78, "unknown setting MULTIPOOL_COLOUR"),
        ({"DEFAULT_MODEL": "nothing"}, 78, "there is no model 'nothing'"),
        ({"HOST": "192.0.2.1"}, 78, "cannot listen on 192.0.2.1:0"),
        ({"API_KEYS_FILE": "/nonexistent"}, 78, "API_KEYS_FILE"),
        ({"API_KEYS_FILE": ""}, 78, "MULTIPOOL_API_KEYS_FILE is set but holds no name of a file"),
        ({"API_KEYS": ""}, 78, "MULTIPOOL_API_KEYS is set but holds no key"),
        ({"HOST": "no.such.host.invalid"}, 78, "cannot listen"),
        ({"HOST": "ü" * 80}, 78, "cannot listen"),
    ],
)
def test_settings_that_cannot_work(models, settings, code, words):
    found, errors = ended(start(models, **settings))

    assert found == code
    assert len(errors) == 1
    assert words in errors[0]


@pytest.mark.parametrize("settings", [{"PORT": "ninety"}, {"DEFAULT_MODEL": "nothing"}, {"HOST": "192.0.2.1"}])
def test_with_json_logs_a_failed_start_is_one_object(models, settings):
    process = start(models, LOG_FORMAT="json", **settings)
    assert process.wait(60) == 78
    (line,) = [json.loads(line) for line in process.log_path.read_text().splitlines()]
    process.log_path.unlink()

    assert (line["level"], line["logger"]) == ("error", "app")
    assert f"{settings.popitem()[1]}" in line["message"]
    assert not line["message"].startswith("error")


def test_json_logs_name_a_folder_whose_name_is_not_utf_8(tmp_path):
    root = tmp_path / os.fsdecode(b"\xff")
    toys.publish(root, "toy", 1, b"not a model")
    process = start(root, LOG_FORMAT="json")
    assert process.wait(60) == 65
    lines = [json.loads(line) for line in process.log_path.read_text().splitlines()]
    process.log_path.unlink()

    assert lines[-1]["message"].startswith(f"{tmp_path}/\\udcff/toy/1/model.onnx cannot be served: ")


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is available")
@pytest.mark.parametrize("workers", [1, 2])
def test_cuda_that_cannot_be_had(models, workers):
    code, errors = ended(start(models, DEVICE="cuda", WORKERS=workers))

    assert code == 69
    assert "no CUDA execution provider" in errors[0]
    assert errors[0].endswith(" -m app doctor' says what to do")


def test_metadata_that_are_not_text(tmp_path):
    data = toys.artifact().replace(b"regions", b"regi\xff\xfes")
    field = digest._FIELD.search(data)
    data = digest.stamp(data[: field.start(1)] + digest.UNSTAMPED.encode() + data[field.end(1) :])
    toys.publish(tmp_path, "broken", 1, data)

    code, errors = ended(start(tmp_path))

    assert code == 65
    assert "not UTF-8" in errors[0]


def test_a_signal_while_loading_ends_it_soon(tmp_path):
    """It has nothing to go on with for a while."""
    toys.publish_many(tmp_path, "toy", 2000)
    with serving(tmp_path, ready=False, MODELS_MEMORY_BYTES=1, LAME_DUCK_S=120) as client:
        client.log.wait_for("loaded toy:1 ")
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(60) == 0
        assert "loaded toy:2000 " not in client.log.text


def test_a_port_in_use(models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, errors = ended(start(models, PORT=taken.getsockname()[1]))

    assert code == 1
    assert "Address already in use" in errors[0]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_first_worker_that_dies_ends_the_start(tmp_path):
    """As by the kernel, for want of memory: the next one would fare no better."""
    toys.publish_many(tmp_path, "toy", 2000)
    with serving(tmp_path, ready=False, WORKERS=2, MODELS_MEMORY_BYTES=1) as client:
        client.log.wait_for("loaded toy:1 ")
        (worker,) = (grandchild for child in children(client.process.pid) for grandchild in children(child))
        os.kill(worker, signal.SIGKILL)

        assert client.process.wait(60) == 1
        assert f"worker {worker} died (-9: killed, perhaps for want of memory)\n" in client.log.text
        assert client.log.text.endswith("error: the service could not start; the reason is in the log lines above\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_another_service_takes_meanwhile(tmp_path, workers):
    """Two that are started at once can both bind it; only one can listen, once it has loaded its models."""
    toys.publish_many(tmp_path, "toy", 100)
    for _ in range(10):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            process = start(tmp_path, PORT=port, WORKERS=workers)
            Log(process).wait_for("listening on")
            try:
                taken.listen()
            except OSError:  # it was first
                process.terminate()
                ended(process)
                continue
            code, errors = ended(process)
            break

    assert code == 1
    assert errors == [
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use; set MULTIPOOL_HOST or MULTIPOOL_PORT"
    ]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(models, number, workers):
    with serving(models, WORKERS=workers) as client:
        client.process.send_signal(number)
        assert client.process.wait(60) == 0


@pytest.mark.parametrize("count", [1, 2])
def test_the_cores_that_are_used_are_told_of(models, count):
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < count:
        pytest.skip("there are not so many cores here")
    os.sched_setaffinity(0, usable[:count])  # the service inherits it
    try:
        with serving(models) as client:
            assert ("1 core: one thread\n" if count == 1 else "2 cores: one thread per core,") in client.log.text
    finally:
        os.sched_setaffinity(0, usable)


def test_an_interpreter_without_the_packages_is_told_of():
    """As ``python3 -m app``, where ``.venv/bin/python`` is meant."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "app"], cwd=ROOT, capture_output=True, text=True, env={"PATH": ""}, check=False
    )

    assert done.returncode == 1
    assert re.fullmatch(r"error: \S+ lacks \w+, which the service needs; run 'make serve' once, .*\n", done.stderr)


def test_an_installation_without_onnx_runtime_is_told_of(tmp_path):
    """As after ``pip install .``, without an extra."""
    packages = Path(ort.__file__).parents[1]
    for package in packages.iterdir():
        if not package.name.startswith("onnxruntime"):
            (tmp_path / package.name).symlink_to(package)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "app"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
        check=False,
    )

    assert done.returncode == 1
    assert re.fullmatch(r"error: \S+ lacks onnxruntime, .* pip install '\.\[cpu\]'\n", done.stderr)


UVICORN = ("-m", "uvicorn", "--factory", "app.main:create_app", "--port", "0")


def test_uvicorn_can_run_the_factory_itself(models):
    with serving(models, arguments=UVICORN, DEFAULT_MODEL="grey") as client:
        assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 200


def test_under_uvicorn_a_failed_load_leaves_it_alive_but_not_ready(tmp_path):
    toys.publish(tmp_path, "broken", 1, b"not a model")
    with serving(tmp_path, ready=False, arguments=UVICORN) as client:
        client.log.wait_for("cannot be served")
        response = client.get("/readyz")
        assert client.get("/livez").status_code == 200
        assert response.headers["retry-after"] == "1"
        assert "cannot be served" in assert_problem(response, 503, "not_ready")["detail"]
        assert_problem(client.post("/predict", files={"file": toys.plain(1)}), 503, "not_ready")
        assert_problem(client.get("/models"), 503, "not_ready")

        toys.publish(tmp_path, "broken", 2)
        wait_until_ready(client)
        assert client.get("/models").json()["models"][0]["version"] == 2


def test_onnx_runtime_reports_nothing_to_anyone(models, tmp_path, monkeypatch):
    """Its telemetry would leave an identifier and a data base in the home folder, whatever else it does."""
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    with serving(models, DEFAULT_MODEL="grey") as client:
        assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 200

    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_setting():
    done = subprocess.run([sys.executable, "-m", "app", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)

    for name in ("MULTIPOOL_MODELS_DIR [models]", "MULTIPOOL_PORT [8000]", "MULTIPOOL_API_KEYS_FILE []"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "invalid choice: 'fly'"),
        (["--port", "8001"], "; write MULTIPOOL_PORT=8001 before the command\n"),
        (["serve", "--models-dir=my models"], "; write MULTIPOOL_MODELS_DIR='my models' before the command\n"),
        (["serve", "--model", "toy"], "unrecognized arguments: --model toy"),
        (["predict", "cat.jpg", "--models-dir", "m"], "; write MULTIPOOL_MODELS_DIR=m before the command\n"),
        (["doctor", "--port=80"], "--port is a setting, not an option; write MULTIPOOL_PORT=80 before the command\n"),
        (["serve", "--rate-limit"], "--rate-limit is a setting, not an option; write MULTIPOOL_RATE_LIMIT=..."),
    ],
)
def test_a_usage_error_shows_how_settings_are_given(arguments, said):
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("usage: [MULTIPOOL_PORT=8000 ...] python -m app [-h] [--version] [COMMAND] ...\n")
    assert said in done.stderr
