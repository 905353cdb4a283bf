"""The committed models answer over HTTP as well as the README says, on images they have not seen."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_export import publishing
from tests.conftest import COMMITTED, ROOT

EUROSAT = ("eurosat-channel-groups", "eurosat-separable", "eurosat-regions")
LARGEST_BYTES = 2_000_000


def test_all_are_served_and_the_digits_answer_by_default(published):
    body = published.get("/models").json()

    assert body["default"] == "digits-regions"
    assert {model["name"] for model in body["models"]} >= {"digits-regions", *EUROSAT}


def test_files_are_small(committed):
    for path in committed.rglob("*.onnx"):
        assert path.stat().st_size < LARGEST_BYTES, path


@pytest.mark.parametrize("path", COMMITTED)
def test_the_number_of_a_version_is_not_used_again_even_if_it_is_deleted(tmp_path, path):
    name, number = path.split("/")
    shutil.copytree(ROOT / "models" / name, tmp_path / name)
    shutil.rmtree(tmp_path / path)

    assert publishing.highest(tmp_path / name) >= int(number)


def test_each_says_where_it_came_from(published):
    for model in published.get("/models").json()["models"]:
        detail = published.get(f"/models/{model['name']}").json()
        assert [branch["pooling"] for branch in detail["branches"]] == ["average", "max", "average", "max"]
        assert detail["metrics"]["validation"]["accuracy"] > 0.9
        assert detail["training"]["images"]["train"] > 1000
        assert detail["recipe"]["id"]
        before, after = (detail["calibration"][when]["validation"] for when in ("before", "after"))
        assert after < 0.02
        assert after <= before + 0.0005  # of images that the temperature was not fitted to
        assert max(entry["largest"] for entry in detail["parity"]) < 1e-4
        assert detail["probe"]["shape"][0] == 4
        assert detail["statistics"]["images"] == detail["training"]["images"]["train"]
        assert len(detail["training"]["fingerprint"]) == 64


@pytest.mark.parametrize("name", EUROSAT)
def test_eurosat_validation_accuracy_over_http(published, data, name):
    files = sorted((data / "eurosat" / "validation").glob("*/*.jpg"))

    def right(path):
        answer = published.post(
            "/predict",
            params={"model": name, "features": "false", "top": 1},
            content=path.read_bytes(),
            headers={"Content-Type": "image/jpeg"},
        )
        return answer.json()["label"] == path.parent.name

    with ThreadPoolExecutor(8) as pool:
        accuracy = sum(pool.map(right, files)) / len(files)

    assert len(files) == 2000
    assert accuracy >= 0.9
    told = published.get(f"/models/{name}").json()["metrics"]["validation"]["accuracy"]
    assert accuracy == pytest.approx(told, abs=0.001)
