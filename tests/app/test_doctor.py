"""The doctor finds what would stop the service, says what to do, and exits as the service would."""

import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import onnxruntime as ort
import pytest

from tests import toys
from tests.app.test_watching import never_ends
from tests.conftest import ROOT, start

SHORT = """
import sys
from app.registry import loading
loading._TRIAL_S = 15
from app.__main__ import main
sys.exit(main(["doctor"]))
"""


def ask(models, *options, arguments=("-m", "app", "doctor"), **settings):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MULTIPOOL_")}
    chosen = {"MODELS_DIR": models, "DEVICE": "cpu", "PORT": 0, **settings}
    environment |= {f"MULTIPOOL_{name}": str(value) for name, value in chosen.items()}
    command = [sys.executable, *arguments, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_sound_set_up_has_no_failures_and_names_the_provider_of_each_model(tmp_path):
    toys.publish(tmp_path, "toy")

    done = ask(tmp_path, "--json")

    findings = json.loads(done.stdout)
    assert done.returncode == 0
    assert not done.stderr
    assert {finding["level"] for finding in findings} <= {"ok", "warning"}
    (model,) = (finding for finding in findings if finding["subject"] == "model")
    assert model["text"].startswith("toy:1: ")
    assert model["text"].endswith("on CPUExecutionProvider")


def test_a_damaged_model_is_named_with_advice_and_the_services_own_exit_code(tmp_path):
    toys.publish(tmp_path, "good")
    file = toys.publish(tmp_path, "bad")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    done = ask(tmp_path)

    assert done.returncode == 65
    assert "failure  model        bad:1: " in done.stdout
    assert "→ remove it, or export it again" in done.stdout
    assert "ok       model        good:1: " in done.stdout


def test_a_bad_version_beside_a_good_one_is_a_warning_as_the_service_passes_it_over(tmp_path):
    toys.publish(tmp_path, "toy")
    toys.publish(tmp_path, "toy", 2, b"junk")

    done = ask(tmp_path)

    assert done.returncode == 0
    assert "warning  model        toy:2: " in done.stdout


def test_a_bad_version_that_is_the_default_is_a_failure_as_it_is_for_the_service(tmp_path):
    toys.publish(tmp_path, "toy", 1, b"junk")
    toys.publish(tmp_path, "toy", 2)

    done = ask(tmp_path, DEFAULT_MODEL="toy:1")
    served = start(tmp_path, DEFAULT_MODEL="toy:1").wait(60)

    assert done.returncode == served == 65
    assert "failure  model        toy:1: " in done.stdout


def test_a_model_that_is_not_required_is_a_warning_if_another_can_be_served(tmp_path):
    toys.publish(tmp_path, "toy", 1, b"junk")
    alone = ask(tmp_path, REQUIRE_ALL_MODELS="false")
    served = start(tmp_path, REQUIRE_ALL_MODELS="false").wait(60)
    toys.publish(tmp_path, "other")
    beside = ask(tmp_path, REQUIRE_ALL_MODELS="false")

    assert alone.returncode == served == 66
    assert beside.returncode == 0
    assert "warning  model        toy:1: " in beside.stdout


def test_who_names_no_model_is_told_of_where_the_default_is_skipped(tmp_path):
    """The service starts with the others, and answers only who names one of them."""
    toys.publish(tmp_path, "toy", 1, b"junk")
    toys.publish(tmp_path, "other", 1)
    toys.publish(tmp_path, "other", 2, b"junk")

    for default in ("toy", "other:2"):
        done = ask(tmp_path, REQUIRE_ALL_MODELS="false", DEFAULT_MODEL=default)
        assert done.returncode == 0
        assert f"warning  default      {default} cannot be served, so requests that name no model" in done.stdout
        assert "→ set MULTIPOOL_DEFAULT_MODEL to another" in done.stdout
    assert " default " not in ask(tmp_path, REQUIRE_ALL_MODELS="false", DEFAULT_MODEL="other").stdout


def test_a_model_that_never_ends_is_found_and_the_doctor_ends(tmp_path):
    """A service that requires all models would not start: it tries a version first only where it can do without it."""
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "toy", 2, never_ends())

    def with_all_required(value):
        return ask(tmp_path, arguments=("-c", SHORT), REQUIRE_ALL_MODELS=value)

    with ThreadPoolExecutor() as pool:
        all_required, others_served = pool.map(with_all_required, ("true", "false"))

    said = "model        toy:2: it was not loaded and run within 15 s; "
    assert (all_required.returncode, others_served.returncode) == (65, 0)
    assert f"failure  {said}the service may hang or crash with it\n" in all_required.stdout
    assert f"warning  {said}it is skipped\n" in others_served.stdout
    assert "ok       model        toy:1: " in all_required.stdout


def test_a_model_whose_name_is_not_allowed_is_a_warning(tmp_path):
    toys.publish(tmp_path, "toy")
    toys.publish(tmp_path, "Fotos")

    done = ask(tmp_path)

    assert done.returncode == 0
    assert "warning  models       passed over 'Fotos': the name of a model has lower-case letters, " in done.stdout
    assert "→ rename the folder" in done.stdout


def test_what_the_settings_name_must_be_there(tmp_path):
    toys.publish(tmp_path, "toy")

    assert ask(tmp_path, DEFAULT_MODEL="nope").returncode == 78
    assert ask(tmp_path, API_KEYS_FILE=tmp_path / "nope").returncode == 78


def test_no_models_and_bad_settings_exit_as_the_service_does(tmp_path):
    assert ask(tmp_path).returncode == 66
    assert ask(tmp_path, PORT="many").returncode == 78


def test_bad_settings_are_a_finding_too(tmp_path):
    done = ask(tmp_path, "--json", PORT="many")

    (finding,) = json.loads(done.stdout)
    assert (done.returncode, finding["level"], finding["subject"]) == (78, "failure", "settings")
    assert finding["text"] == "MULTIPOOL_PORT = 'many': it takes a whole number from 0 to 65535"
    assert done.stderr == ""


def test_an_unknown_setting_is_told_of_once_with_the_nearest_name(tmp_path):
    done = ask(tmp_path, PROT="8001")

    assert done.returncode == 78
    assert "unknown setting MULTIPOOL_PROT; did you mean MULTIPOOL_PORT? " in done.stdout
    assert done.stdout.count("the settings are listed by") == 1


def test_more_workers_than_cores_are_a_warning(tmp_path):
    toys.publish(tmp_path, "toy")

    done = ask(tmp_path, WORKERS=64)

    assert done.returncode == 0
    assert "warning  cores" in done.stdout
    assert "→ set MULTIPOOL_WORKERS to " in done.stdout


@pytest.mark.parametrize(("count", "words"), [(1, " usable, 1 worker\n"), (64, " usable, 64 workers\n")])
def test_one_worker_is_one(tmp_path, count, words):
    assert words in ask(tmp_path, WORKERS=count).stdout


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is available")
def test_without_a_gpu_all_is_well_and_it_says_how_to_have_one(tmp_path):
    toys.publish(tmp_path, "toy")

    done = ask(tmp_path, "--json", DEVICE="auto")

    (device,) = (finding for finding in json.loads(done.stdout) if finding["subject"] == "device")
    assert (done.returncode, device["level"]) == (0, "ok")
    assert "no CUDA execution provider" in device["text"]
    for name in ("deploy/requirements/serve-cuda.txt", "docker-compose.gpu.yml"):
        assert name in device["advice"]
        assert (ROOT / name).exists()
    assert "\n" not in device["advice"]


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is available")
def test_without_the_gpu_that_is_asked_for_it_says_itself_what_to_do(tmp_path):
    """The service names the doctor; the doctor does not."""
    toys.publish(tmp_path, "toy")

    done = ask(tmp_path, DEVICE="cuda")

    assert done.returncode == 69
    assert "failure  models       not loaded, because the device cannot be used\n" in done.stdout
    assert done.stdout.count("CUDA cannot be used") == 1
    assert "doctor" not in done.stdout


def test_a_free_port_is_named(tmp_path):
    done = ask(tmp_path, PORT=0)

    assert re.search(r"^ok +port +127\.0\.0\.1:[1-9]\d* is free$", done.stdout, re.MULTILINE)


def test_a_port_in_use_is_a_warning_as_it_may_be_the_services_own(tmp_path):
    toys.publish(tmp_path, "toy")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ask(tmp_path, PORT=port)

    assert done.returncode == 0
    assert f"warning  port         cannot listen on 127.0.0.1:{port}: Address already in use\n" in done.stdout
    assert "or set MULTIPOOL_PORT\n" in done.stdout


def test_an_address_that_cannot_be_had_is_a_failure_as_it_is_for_the_service(tmp_path):
    toys.publish(tmp_path, "toy")

    done = ask(tmp_path, HOST="192.0.2.1")  # a documentation address, which no machine has

    assert done.returncode == 78
    assert "failure  port         cannot listen on 192.0.2.1:" in done.stdout
    assert "set MULTIPOOL_HOST or MULTIPOOL_PORT\n" in done.stdout


def test_two_onnx_runtimes_in_one_place_are_a_warning(tmp_path, monkeypatch):
    toys.publish(tmp_path / "models", "toy")
    for name in ("onnxruntime", "onnxruntime_gpu"):  # whichever is installed, now both are
        about = tmp_path / "packages" / f"{name}-1.31.0.dist-info" / "METADATA"
        about.parent.mkdir(parents=True)
        about.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.0\n")

    one = ask(tmp_path / "models")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    two = ask(tmp_path / "models")

    assert re.search(r"^ok       onnxruntime  onnxruntime(-gpu)? [\d.]+ \(", one.stdout, re.MULTILINE)
    assert re.search(
        r"^warning  onnxruntime  onnxruntime [\d.]+, onnxruntime-gpu [\d.]+ are both installed \(.*\)\n"
        r" +→ they overwrite each other's files: uninstall both, then install \S+$",
        two.stdout,
        re.MULTILINE,
    )
    assert two.returncode == 0
