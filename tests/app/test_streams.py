"""Whoever starts a command may have closed its standard streams."""

import os
import subprocess
import sys

import httpx
import pytest

from tests.app.test_watching import PHOTO
from tests.conftest import ROOT, START_LIMIT_S, free_port, wait_for

CLOSED = ("<&-", ">&-", "2>&-", "<&- >&- 2>&-")


def closing(closed, *arguments):
    """The command line of a module, run with some of its streams closed."""
    return ["/bin/sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-m", *map(str, arguments)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_answers_and_stops_without_any(models, workers):
    settings = {"MODELS_DIR": models, "DEVICE": "cpu", "LAME_DUCK_S": 0, "WORKERS": workers}
    environment = os.environ | {f"MULTIPOOL_{name}": str(value) for name, value in settings.items()}

    with (
        free_port() as port,
        subprocess.Popen(
            closing(CLOSED[-1], "app"), cwd=ROOT, env=environment | {"MULTIPOOL_PORT": str(port)}
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):

        def answer():
            assert process.poll() is None
            try:
                return client.post("/predict?model=brightness:1", files=PHOTO)
            except httpx.ConnectError:
                return None

        try:
            found = wait_for(lambda: (one := answer()) is not None and one.status_code == 200 and one, START_LIMIT_S)
        finally:
            process.terminate()

    assert found.json()["model"] == "brightness"
    assert process.returncode == 0


@pytest.mark.parametrize("closed", CLOSED)
def test_commands_do_what_they_are_told(models, tmp_path, closed):
    (tmp_path / "photo.png").write_bytes(PHOTO["file"])
    table = tmp_path / "table.csv"
    environment = os.environ | {"MULTIPOOL_MODELS_DIR": str(models)}
    arguments = ("app", "predict", tmp_path / "photo.png", "--model", "brightness", "--output", table)

    predicted = subprocess.run(closing(closed, *arguments), cwd=ROOT, env=environment, check=False)
    verified = subprocess.run(
        closing(closed, "model_export", "inspect", models / "brightness" / "1"), cwd=ROOT, env=environment, check=False
    )

    assert (predicted.returncode, verified.returncode) == (0, 0)
    assert "brightness" in table.read_text()
