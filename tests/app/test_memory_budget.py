"""More models than fit into memory: those asked for are there, the rest wait on the disk."""

from concurrent.futures import ThreadPoolExecutor

from app.repository import Repository
from tests import toys
from tests.app.test_repository import loader
from tests.conftest import serving

PHOTO = {"file": toys.plain(128)}
COUNT = 12


def test_the_least_recently_used_are_let_go_of(tmp_path):
    for index in range(COUNT):
        toys.publish(tmp_path, f"toy-{index:02}", 1, toys.artifact(offset=0.3 + index / 100))
    with serving(tmp_path, MODELS_MEMORY_BYTES=4_500_000) as client:

        def loaded():
            return {model["name"] for model in client.get("/models").json()["models"] if model["loaded"]}

        assert len(loaded()) < COUNT
        answers = {}
        with ThreadPoolExecutor(6) as pool:

            def ask(index):
                return index, client.post("/predict", params={"model": f"toy-{index:02}"}, files=PHOTO)

            for index, response in pool.map(ask, [*range(COUNT)] * 3):
                assert response.status_code == 200
                assert response.json()["model"] == f"toy-{index:02}"
                assert answers.setdefault(index, response.json()["branches"]) == response.json()["branches"]
        assert 0 < len(loaded()) < COUNT
        client.post("/predict", params={"model": "toy-03"}, files=PHOTO)
        assert "toy-03" in loaded()
        assert client.get("/readyz").status_code == 200
        assert all(model["ready"] for model in client.get("/models").json()["models"])


def test_the_highest_versions_stay(tmp_path):
    for number in range(1, 7):
        toys.publish(tmp_path, "toy", number)
    repository = Repository(tmp_path, default=None, loader=loader(), memory_bytes=2_500_000)
    repository.load()

    loaded = [entry.number for entry in repository.entries() if entry.version is not None]
    assert loaded
    assert loaded[-1] == 6
    assert len(loaded) < 6
    assert repository.versions("toy") == [1, 2, 3, 4, 5, 6]


def test_a_model_that_is_gone_from_the_disk_when_it_is_needed_again(tmp_path):
    paths = [toys.publish(tmp_path, f"toy-{index}", 1) for index in range(6)]
    with serving(tmp_path, MODELS_MEMORY_BYTES=1_500_000, MODELS_POLL_S=0) as client:
        absent = next(model["name"] for model in client.get("/models").json()["models"] if not model["loaded"])
        paths[int(absent[-1])].write_bytes(b"something else")
        response = client.post("/predict", params={"model": absent}, files=PHOTO)
        assert response.status_code == 503
        assert response.json()["code"] == "not_ready"
        assert str(tmp_path) not in response.text
        assert {entry["name"] for entry in client.get("/models").json()["refused"]} == {absent}
