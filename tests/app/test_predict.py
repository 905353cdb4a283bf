"""``python -m app predict``: the service's answers without a service, and tables of them."""

import csv
import fcntl
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import devices, interpreter
from app.__main__ import main
from app.metadata import Recipe
from app.offline import identity, tables
from app.offline.answering import Offline, open_version
from app.offline.finding import find
from app.settings import Settings
from tests import toys
from tests.conftest import ROOT, START_LIMIT_S, closed, wait_for

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def predict(models):
    """Run the command; returns what is left of the process."""

    def run(*arguments, python_path="", **settings):
        return subprocess.run(
            [sys.executable, "-m", "app", "predict", *map(str, arguments)],
            cwd=ROOT,
            env=environment(models, **settings) | {"PYTHONPATH": str(python_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def environment(models, **settings):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MULTIPOOL_")}
    chosen = {"MODELS_DIR": models, "DEFAULT_MODEL": "brightness", "DEVICE": "cpu", **settings}
    return kept | {f"MULTIPOOL_{name}": str(value) for name, value in chosen.items()}


def full_disk(models):
    """The environment of a process whose files cannot grow: Python would leave half of a module's bytecode behind."""
    return environment(models) | {"PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def folder(tmp_path):
    """Five images, one of them broken, at two depths."""
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    for value in (0, 90, 255):
        (root / f"{value}.png").write_bytes(toys.plain(value))
    (root / "deep" / "noise.JPG").write_bytes(
        toys.save(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8), "JPEG")
    )
    (root / "broken.png").write_bytes(toys.plain(1)[:40])
    (root / "notes.txt").write_text("no image")
    return root


def test_one_image_is_answered_in_a_line(predict, folder):
    done = predict(folder / "255.png")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[1] == "bright"
    assert "familiarity" in done.stdout
    unsure = predict(folder / "255.png", "--min-confidence", "1")
    assert (unsure.returncode, unsure.stderr) == (0, "")
    assert unsure.stdout == done.stdout.replace("  bright  ", "  (uncertain)  ")


def test_the_lowest_familiarity_is_marked(tmp_path):
    toys.publish(tmp_path, "few", 1, toys.artifact(statistics=toys.statistics(18)))
    strange = np.zeros((8, 8, 3), np.uint8)
    strange[:, 4:] = 255
    (tmp_path / "strange.png").write_bytes(toys.save(strange))
    usual = np.random.default_rng(1).integers(127, 255, (8, 8, 3)).astype(np.uint8)
    (tmp_path / "usual.png").write_bytes(toys.save(usual))
    command = [sys.executable, "-m", "app", "predict", tmp_path / "strange.png", tmp_path / "usual.png"]
    chosen = environment(tmp_path, DEFAULT_MODEL="few")

    done = subprocess.run(command, cwd=ROOT, env=chosen, capture_output=True, text=True, check=True)

    lowest, other = done.stdout.splitlines()
    assert lowest.endswith("familiarity ≤ 0.053")
    assert re.search(r"familiarity 0\.\d\d$", other)

    chosen["PYTHONIOENCODING"] = "ascii"
    done = subprocess.run(command, cwd=ROOT, env=chosen, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.splitlines()[1]) == (0, "", other)


def test_the_name_of_a_class_commands_no_terminal(predict, folder, tmp_path):
    toys.publish(tmp_path / "odd", "toy", data=toys.artifact(labels=("dark", "bri\x1b[31mght")))
    chosen = {"MODELS_DIR": tmp_path / "odd", "DEFAULT_MODEL": "toy"}

    done = predict(folder / "255.png", **chosen)
    assert done.stdout.split()[1] == "bri\\x1b[31mght"

    done = predict(folder / "255.png", "--explain", tmp_path / "why.png", "--label", "no", **chosen)
    assert done.returncode == 2
    assert done.stderr == "error: --label: there is no 'no'; there are dark, bri\\x1b[31mght\n"


def test_the_name_of_a_file_commands_no_terminal_and_forges_no_line(predict, folder):
    (folder / "a\x1b[2J\nb.png").write_bytes(toys.plain(255))
    (folder / "bad\x1b[2J.png").write_bytes(b"no image")
    (folder / "at 10\u202fAM.png").write_bytes(toys.plain(255))  # as macOS names a screenshot

    done = predict(folder)

    names = {line.partition("  ")[0] for line in done.stdout.splitlines()}
    assert {f"{folder}/a\\x1b[2J\\nb.png", f"{folder}/at 10\u202fAM.png"} <= names
    assert len({line.index("  familiarity") for line in done.stdout.splitlines() if "  bright  " in line}) == 1
    assert f"error: {folder}/bad\\x1b[2J.png: the file is not an image" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json_is_what_the_service_answers(predict, server, folder):
    image = folder / "deep" / "noise.JPG"
    told = server.post("/predict", params={"explain": "true"}, files={"file": image.read_bytes()}).json()

    done = predict(image, "--json", "--explain", folder / "why.png")

    assert json.loads(done.stdout) == told
    with Image.open(folder / "why.png") as drawn:
        assert min(drawn.size) > 400


def test_another_class_and_one_branch_are_drawn_as_the_service_does(predict, server, folder):
    image = folder / "deep" / "noise.JPG"
    chosen = {"label": "dark", "branch": "top_right"}

    done = predict(image, "--explain", folder / "why.PNG", "--label", "dark", "--branch", "top_right")

    assert done.stderr == f"{folder / 'why.PNG'}: where the logit of 'dark' comes from\n"
    told = server.post("/explain", params=chosen, files={"file": image.read_bytes()}).content
    assert (folder / "why.PNG").read_bytes() == told


def test_of_an_image_that_cannot_be_used_nothing_is_drawn(predict, folder):
    done = predict(folder / "broken.png", "--explain", folder / "why.png")

    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith(f"error: {folder / 'broken.png'}: the PNG file is damaged")
    assert done.stderr.count("\n") == 1
    assert not (folder / "why.png").exists()


def test_json_is_what_the_service_answers_to_a_bad_image_too(predict, server, folder):
    image = folder / "broken.png"
    told = server.post("/predict", files={"file": image.read_bytes()}).json()

    done = predict(image, "--json")

    assert (done.returncode, done.stderr) == (65, "")
    assert json.loads(done.stdout) == {**told, "request_id": ""}


MEASURED = r"""
import re, sys
from pathlib import Path
from app.__main__ import main
main(sys.argv[1:])
print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)  # of this program alone
"""


def on_two_cores():
    """Have as many threads everywhere: each reads a file, and takes memory of its own."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def test_images_that_cannot_be_used_take_no_memory_once_they_are_told_of(models, tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8_000_000))
    command = [sys.executable, "-c", MEASURED, "predict", "--json", tmp_path]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(models), capture_output=True, text=True, check=True, preexec_fn=on_two_cores
    )

    assert len(json.loads(done.stdout)["results"]) == 40
    assert int(done.stderr.split()[-1]) < 250_000  # kB; all files together have 320 MB


def test_values_are_scaled_as_in_training(predict, tmp_path):
    toys.publish(tmp_path / "models", "dim", 1, toys.artifact(recipe=Recipe(value_range=(0, 1000))))
    np.save(tmp_path / "dim.npy", np.full((8, 8, 3), 900, np.uint16))

    done = predict(tmp_path / "dim.npy", MODELS_DIR=tmp_path / "models", DEFAULT_MODEL="dim")

    assert done.stdout.split()[1] == "bright"


def test_the_limit_on_pixels_and_the_device_are_those_of_the_settings(predict, folder):
    small = predict(folder / "0.png", MAX_PIXELS=63)
    assert (small.returncode, small.stdout) == (65, "")
    assert "the image has 8 × 8 pixels, more than the limit of 63" in small.stderr
    if devices.why_no_cuda() is not None:
        absent = predict(folder / "0.png", DEVICE="cuda")
        assert (absent.returncode, absent.stdout) == (69, "")
        assert absent.stderr.startswith("error: CUDA cannot be used: ")


def test_a_file_that_cannot_be_read_is_its_own_fault_and_not_the_services(predict, folder):
    done = predict(folder / "0.png", "/proc/self/mem", "--json")

    answered, failed = json.loads(done.stdout)["results"]
    assert (done.returncode, answered["label"]) == (65, "dark")
    assert (failed["error"]["status"], failed["error"]["code"]) == (422, "undecodable_image")
    assert failed["error"]["detail"] == "it cannot be read: Input/output error"


@pytest.mark.parametrize(("size", "limit"), [(1 << 42, resource.RLIM_INFINITY), (1 << 31, 1 << 31)])
def test_a_file_that_does_not_fit_into_memory_fails_alone(models, folder, size, limit):
    """It is sparse, so it takes no room on the disk."""
    with (folder / "vast.png").open("wb") as file:
        file.write(toys.plain(0))
        file.truncate(size)

    def limited():
        on_two_cores()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "app", "predict", folder / "0.png", folder / "vast.png", "--json"],
        cwd=ROOT,
        env=environment(models),
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )

    answered, failed = json.loads(done.stdout)["results"]
    assert (done.returncode, answered["label"]) == (65, "dark")
    assert failed["error"]["code"] == "undecodable_image"
    assert re.search(r"more than half of the memory|not enough memory", failed["error"]["detail"])


def test_pipes_are_read_but_not_waited_for_where_nobody_writes(models, folder):
    os.mkfifo(folder / "nobody.png")
    os.mkfifo(folder / "somebody.png")
    (folder / "large.bmp").write_bytes(toys.plain(255, (200, 200), "BMP"))  # more than a pipe holds
    writer = subprocess.Popen(["/bin/sh", "-c", "sleep 0.1; cat 0.png"], cwd=folder, stdout=subprocess.PIPE)
    watched = os.open(folder / "somebody.png", os.O_RDONLY | os.O_NONBLOCK)
    someone = subprocess.Popen(["/bin/sh", "-c", "cat large.bmp > somebody.png"], cwd=folder)
    assert select.select([watched], [], [], 60)[0]  # who writes is there, and waits for a reader
    paths = [folder / "nobody.png", folder / "somebody.png", f"/dev/fd/{writer.stdout.fileno()}"]

    done = subprocess.run(
        [sys.executable, "-m", "app", "predict", "-", "--json"],
        cwd=ROOT,
        env=environment(models),
        input="\n".join(map(str, paths)),
        pass_fds=[writer.stdout.fileno()],
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )

    unread, bright, dark = json.loads(done.stdout)["results"]
    assert (done.returncode, unread["error"]["code"]) == (65, "empty_file")
    assert (bright["label"], dark["label"]) == ("bright", "dark")
    writer.stdout.close()
    assert (writer.wait(), someone.wait()) == (0, 0)
    os.close(watched)


def test_what_a_pipe_brings_is_explained_and_classified(models, folder):
    """Although it can be read only once."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "predict", "/dev/stdin", "--explain", folder / "why.png"],
        cwd=ROOT,
        env=environment(models),
        input=toys.plain(255),
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout.split()[1]) == (0, b"bright")
    assert (folder / "why.png").exists()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_paths_come_from_standard_input(models, folder, end):
    odd = os.fsencode(folder / "not \xe9 UTF-8 ").replace(b"\xc3\xa9", b"\xe9")
    with open(odd, "wb") as file:
        file.write(toys.plain(255))
    gone = folder / "deleted since it was listed.png"
    paths = b"".join(path + end for path in (odd, os.fsencode(gone), os.fsencode(folder / "0.png")))

    done = subprocess.run(
        [sys.executable, "-m", "app", "predict", "-", "--json"],
        cwd=ROOT,
        env=environment(models),
        input=paths,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (65, b"3 images, 1 of which cannot be used\n")
    results = json.loads(done.stdout)["results"]
    assert [one.get("label") for one in results] == ["bright", None, "dark"]
    assert "No such file" in results[1]["error"]["detail"]


def test_a_file_may_have_the_name_that_means_standard_input(models, tmp_path, monkeypatch, capsysbinary):
    for name, value in environment(models).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(toys.plain(255))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nothing.png\n")))

    assert main(["predict", "./-"]) == 0
    assert capsysbinary.readouterr().out.split()[:2] == [os.fsencode(tmp_path / "-"), b"bright"]


def test_no_paths_on_standard_input_are_said(models, monkeypatch, capsys):
    for name, value in environment(models).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))

    assert main(["predict", "-"]) == 66
    assert capsys.readouterr().err.startswith("error: standard input names no image; write one path per line")


def test_a_disk_that_is_full_is_said_with_the_path_and_the_same_command_goes_on(predict, models, folder, tmp_path):
    """Here a limit on the size of files is what is full."""
    (folder / "broken.png").unlink()
    table = tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "app", "predict", str(folder), "--output", str(table)]

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800))

    done = subprocess.run(
        command, cwd=ROOT, env=full_disk(models), capture_output=True, text=True, check=False, preexec_fn=fill
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {table} cannot be written: File too large; when that is solved, run the same command again to continue"
    )
    assert "Traceback" not in done.stderr

    again = predict(folder, "--output", table)
    assert again.returncode == 0
    assert len(table.read_text().splitlines()) == 4


@pytest.mark.parametrize("linked", [False, True])
def test_half_a_picture_is_not_left_where_the_disk_is_full(models, folder, linked):
    """But a link stays: it may be ``/dev/stdout``."""
    why = folder / "why.png"
    if linked:
        why.symlink_to("other.png")
    command = [sys.executable, "-m", "app", "predict", str(folder / "0.png"), "--explain", str(why)]

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = subprocess.run(
        command, cwd=ROOT, env=full_disk(models), capture_output=True, text=True, check=False, preexec_fn=fill
    )

    assert (done.returncode, done.stderr) == (1, f"error: {why} cannot be written: File too large\n")
    assert why.exists() == why.is_symlink() == linked


def test_several_images_fail_alone(predict, folder):
    done = predict(folder / "0.png", folder / "broken.png", folder / "255.png", "--json", "--top", "1", "--no-features")

    assert done.returncode == 65
    results = json.loads(done.stdout)["results"]
    assert [result.get("label") for result in results] == ["dark", None, "bright"]
    assert (results[1]["error"]["code"], results[1]["error"]["status"]) == ("undecodable_image", 422)
    assert len(results[0]["probabilities"]) == 1
    assert "branches" not in results[0]


def test_the_answer_for_a_folder_has_the_same_form_however_many_images_are_in_it(predict, folder):
    told = json.loads(predict(folder / "deep", "--json").stdout)

    assert (told["model"], told["version"]) == ("brightness", 2)
    assert [one["filename"] for one in told["results"]] == [f"{folder}/deep/noise.JPG"]


def test_every_image_of_a_folder_is_answered_or_told_why_not(predict, tmp_path):
    for name in ("good.png", "saved by a browser.jfif", "no suffix", "._good.png", "notes"):
        (tmp_path / name).write_bytes(b"BMW, Audi" if name == "notes" else toys.plain(255))
    (tmp_path / "notes").rename(tmp_path / "notes.txt")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))

    done = predict(tmp_path, "--json")

    assert done.returncode == 65
    told = {one["filename"].rpartition("/")[2]: one for one in json.loads(done.stdout)["results"]}
    assert {name: one.get("label") for name, one in told.items()} == {
        "good.png": "bright",
        "no suffix": "bright",
        "phone.HEIC": None,
        "saved by a browser.jfif": "bright",
    }
    assert "HEIC, which is not read; save or export it as JPEG" in told["phone.HEIC"]["error"]["detail"]


def test_the_images_of_a_folder_are_known_by_their_suffix_and_hidden_ones_are_left_out(tmp_path):
    """Also those of formats that are not read: each is told of, instead of being passed over."""
    read = ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "bmp", "gif", "tif", "tiff", "npy", "JPG")
    not_read = ("heic", "heif", "avif", "jp2", "jxl")
    images = [f"{index}.{suffix}" for index, suffix in enumerate((*read, *not_read))]
    (tmp_path / ".cache").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # reading it would never end
    for name in (*images, "notes.txt", "table.csv", "model.onnx", "packed.npz", ".hidden.png", ".cache/0.png"):
        (tmp_path / name).touch()

    assert find([tmp_path]) == sorted(tmp_path / name for name in images)


def test_a_broken_link_is_not_passed_over(predict, tmp_path):
    (tmp_path / "sound.png").write_bytes(toys.plain(1))
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")

    done = predict(tmp_path, "--json")

    bad, good = json.loads(done.stdout)["results"]
    assert done.returncode == 65
    assert good["label"] == "dark"
    assert "No such file" in bad["error"]["detail"]


def test_a_link_to_a_folder_is_not_passed_over(predict, folder, tmp_path):
    root = tmp_path / "linked"
    root.mkdir()
    (root / "sound.png").write_bytes(toys.plain(1))
    (root / "elsewhere").symlink_to(folder)

    done = predict(root, "--json")
    named = predict(root / "elsewhere", "--json")

    bad, good = json.loads(done.stdout)["results"]
    assert done.returncode == 65
    assert good["label"] == "dark"
    assert "a link to a folder, which is not followed; name the folder itself" in bad["error"]["detail"]
    assert len(json.loads(named.stdout)["results"]) == 5


def test_a_model_answers_with_its_highest_version_that_can_be_used(predict, tmp_path, folder):
    root = tmp_path / "repository"
    toys.publish(root, "toy", 1)
    toys.publish(root, "toy", 2, b"not a model")

    done = predict(folder / "255.png", "--json", MODELS_DIR=root, DEFAULT_MODEL="toy")
    asked = predict(folder / "255.png", "--model", "toy:2", MODELS_DIR=root, DEFAULT_MODEL="toy")

    assert (done.returncode, json.loads(done.stdout)["version"]) == (0, 1)
    assert "toy/2/model.onnx cannot be used" in done.stderr
    assert "version 1 answers" in done.stderr
    assert asked.returncode == 65


@pytest.mark.parametrize(
    ("named", "default", "said"),
    [
        ((), "", "model bands answers, the first by name; --model chooses another\n"),
        ((), "grey", ""),
        (("--model", "grey"), "", ""),
    ],
)
def test_which_model_answers_is_said_if_nobody_has_chosen_it(predict, folder, named, default, said):
    done = predict(folder / "0.png", "--json", *named, DEFAULT_MODEL=default)

    assert done.stderr == said


@pytest.mark.parametrize("how", [[], ["--json"], ["--output"]])
def test_one_broken_image_is_exit_code_65_and_a_count_however_it_is_written(predict, folder, tmp_path, how):
    target = [tmp_path / "answers.csv"] if how == ["--output"] else []

    done = predict(folder, *how, *target)
    sound = predict(folder / "0.png", folder / "255.png", *how, *[tmp_path / "sound.csv" for _ in target])

    assert done.returncode == 65
    reason = "; the column 'error' says why" if target else ""  # elsewhere, it is printed
    assert done.stderr.splitlines()[-1].endswith(f"5 images, 1 of which cannot be used{reason}")
    written = target[0].read_text() if target else done.stdout
    for name in ("0.png", "90.png", "255.png", "noise.JPG"):
        assert f"/{name}" in written
    assert sound.returncode == 0
    assert "cannot be used" not in sound.stderr


def test_the_exit_code_is_told_of(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])

    assert "Exit code 65: at least one image cannot be used" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_folder_becomes_a_table(predict, folder, tmp_path, kind):
    path = tmp_path / f"answers.{kind}"

    done = predict(folder, "--output", path, "--model", "brightness:1", MAX_BATCH_SIZE=2)

    assert (done.returncode, done.stderr.count("Traceback")) == (65, 0), done.stderr
    assert done.stderr.endswith(f"{path}: 5 images, 1 of which cannot be used; the column 'error' says why\n")
    assert not list(tmp_path.glob(".answers*"))
    rows = {row["file"].rpartition("/")[2]: row for row in read(path)}
    assert set(rows) == {"0.png", "90.png", "255.png", "broken.png", "noise.JPG"}
    assert "damaged" in rows["broken.png"]["error"]
    assert [rows[name]["label"] for name in ("0.png", "90.png", "255.png")] == ["dark", "dark", "bright"]
    bright = float(predict_probability(rows["90.png"], kind))
    assert bright == pytest.approx(1 / (1 + np.exp(-2 * 8 * (90 / 255 - 0.5))), abs=1e-6)
    feature = {
        "csv": lambda row: row["features_top_left_0"],
        "jsonl": lambda row: row["features"]["top_left"][0],
        "parquet": lambda row: row["features_top_left"][0],
    }[kind](rows["90.png"])
    assert float(feature) == pytest.approx(90 / 255, abs=1e-6)
    unasked = ("bias", "contribution", "path", "stamp")  # the last two are the journal's own
    assert not [name for name in rows["90.png"] if name.startswith(unasked)]


def test_every_row_of_a_csv_has_a_field_for_each_column(predict, folder, tmp_path):
    """Of an unusable image too (RFC 4180, section 2.4): readers such as Arrow's take no others."""
    predict(folder, "--output", tmp_path / "answers.csv")

    with (tmp_path / "answers.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert {len(row) for row in rows} == {len(header)}
    assert [row[len(tables._PLAIN) :] for row in rows if row[0].endswith("broken.png")] == [
        [""] * (len(header) - len(tables._PLAIN))
    ]


def test_the_lowest_probability_of_a_label_can_be_named_as_in_a_request(predict, server):
    said = predict("examples/digit.png", "--json", "--min-confidence", "1", MIN_CONFIDENCE=0.5)
    with open("examples/digit.png", "rb") as file:
        answer = server.post("/predict", params={"min_confidence": 1}, files={"file": file}).json()

    assert json.loads(said.stdout)["uncertain"] is answer["uncertain"] is True
    assert json.loads(said.stdout)["label"] is answer["label"] is None
    assert "uncertain" not in predict("examples/digit.png", "--json", "--min-confidence", "0", MIN_CONFIDENCE=1).stdout


@pytest.mark.parametrize("least", ["1.1", "-0.1", "nan", "half"])
def test_a_lowest_probability_that_is_none_is_refused(predict, least):
    done = predict("examples/digit.png", f"--min-confidence={least}")

    assert done.returncode == 2
    refused = f"argument --min-confidence: '{least}' is not a number from 0 to 1"
    assert done.stderr == f"python -m app predict: error: {refused} (all options: python -m app predict --help)\n"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_contributions_in_a_table_are_the_services_and_add_up_to_the_logit(predict, server, folder, tmp_path, kind):
    """Of an image whose label is uncertain too: they are those of the most probable class, as its probability is."""
    path = tmp_path / f"answers.{kind}"

    done = predict(folder, "--output", path, "--contributions", "--no-features", MIN_CONFIDENCE=0.9)

    assert done.returncode == 65
    rows = {row["file"].rpartition("/")[2]: row for row in read(path)}
    assert [row["label"] or None for row in rows.values()].count(None) == 2  # the broken one, and an uncertain one
    assert not [name for name in rows["90.png"] if name.startswith("features_")]
    for name in ("0.png", "90.png", "255.png", "deep/noise.JPG"):
        sent = {"file": (folder / name).read_bytes()}
        answer = server.post("/predict", params={"explain": "true", "min_confidence": 0.9}, files=sent).json()
        told, row = answer["explanation"], rows[name.rpartition("/")[2]]
        assert str(row["uncertain"]) == str(answer["uncertain"])
        assert float(row["familiarity"]) == pytest.approx(answer["familiarity"]["joint"], abs=1e-6)
        first = max(told["logits"], key=told["logits"].get)
        bias, shares = contributions(row, kind)
        assert bias + sum(shares.values()) == pytest.approx(told["logits"][first], abs=1e-5)
        assert bias == pytest.approx(told["bias"][first], abs=1e-6)
        assert shares == pytest.approx({one["name"]: one["contributions"][first] for one in told["branches"]}, abs=1e-6)
    assert contributions(rows["broken.png"], kind) in ((None, {}), (None, dict.fromkeys(toys.QUADRANTS)))


def contributions(row, kind):
    """The bias, and each branch's contribution; None for an empty field."""
    if kind == "jsonl":
        return row.get("bias"), row.get("contributions", {})
    names = [name for name in row if name == "bias" or name.startswith("contribution_")]
    bias, *shares = (None if row[name] in ("", None) else float(row[name]) for name in names)
    return bias, dict(zip((name.removeprefix("contribution_") for name in names[1:]), shares, strict=True))


def test_json_explains_many_images_as_the_service_does(predict, server, folder):
    images = [folder / "0.png", folder / "deep" / "noise.JPG"]
    sent = [{"file": image.read_bytes()} for image in images]
    told = [server.post("/predict", params={"explain": "true"}, files=one).json() for one in sent]

    done = predict(*images, "--json", "--contributions", MAX_BATCH_SIZE=1)  # the last digits depend on the batch

    assert [result["explanation"] for result in json.loads(done.stdout)["results"]] == [
        one["explanation"] for one in told
    ]


def test_a_model_that_cannot_be_explained_is_refused_before_its_table_is_begun(predict, folder, tmp_path):
    done = predict(folder, "--model", "grey", "--output", tmp_path / "answers.csv", "--contributions")

    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith("error: the model carries no head, so its logits cannot be explained: ")
    assert not list(tmp_path.glob("*answers*"))


def read(path):
    match path.suffix:
        case ".csv":
            return list(csv.DictReader(io.StringIO(path.read_text())))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case _:
            parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
            return parquet.read_table(path).to_pylist()


def predict_probability(row, kind):
    return row["probabilities"]["bright"] if kind == "jsonl" else row["probability_bright"]


def test_an_interrupted_table_goes_on_where_it_was(predict, models, tmp_path):
    for index in range(400):
        (tmp_path / f"{index:03}.png").write_bytes(toys.plain(index % 256, (300, 300)))
    path, journal = tmp_path / "answers.jsonl", tmp_path / ".answers.jsonl.journal"
    last = tmp_path / "last.png"
    os.mkfifo(last)
    held = os.open(last, os.O_RDWR)  # so the image does not come to its end before the process is killed
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "predict", str(tmp_path), str(last), "--output", str(path)],
        cwd=ROOT,
        env=environment(models, MAX_BATCH_SIZE=4),
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: process.poll() is not None or (journal.exists() and journal.stat().st_size > 20_000))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    os.close(held)
    last.unlink()
    assert not path.exists()
    with journal.open("ab") as file:
        file.write(b'{"file": "half a l')

    done = predict(tmp_path, "--output", path)

    assert "continuing after" in done.stderr
    whole = predict(tmp_path, "--output", tmp_path / "whole.jsonl")
    assert (done.returncode, whole.returncode) == (0, 0)
    resumed, at_once = read(path), read(tmp_path / "whole.jsonl")
    assert [row["file"] for row in resumed] == [str(tmp_path / f"{index:03}.png") for index in range(400)]
    assert [row["label"] for row in resumed] == [row["label"] for row in at_once]
    again = predict(tmp_path, "--output", path)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert "a finished table is never changed; remove it, or name another --output" in again.stderr


@pytest.mark.parametrize(
    ("options", "last"),
    [([], "interrupted"), (["--output", "answers.csv"], "interrupted; run the same command again to continue")],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_with_one_line(models, tmp_path, options, last, number):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "first.png").write_bytes(toys.plain(100, (300, 300)))
    for index in range(1000):
        (tmp_path / "images" / f"{index:04}.png").hardlink_to(tmp_path / "images" / "first.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "predict", "images", "/dev/stdin", *options],
        cwd=tmp_path,
        env=environment(models, MAX_BATCH_SIZE=4) | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,  # does not come to its end before the signal, however late that is
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any("libonnxruntime" in line or "onnxruntime_pybind11" in line for line in maps(process)):
        time.sleep(0.01)  # it is past its first imports, and has most of its images before it
    process.send_signal(number)

    _, said = process.communicate(timeout=START_LIMIT_S)

    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == last


def test_ctrl_c_during_the_first_imports_is_no_error(models):
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "predict", "/dev/stdin"],
        cwd=ROOT,
        env=environment(models),
        stdin=subprocess.PIPE,  # as above
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any("pydantic_core" in line for line in maps(process)):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=START_LIMIT_S)

    assert (process.returncode, said) in [(-signal.SIGINT, ""), (130, "interrupted\n")]


def maps(process):
    """What the process has loaded."""
    assert process.poll() is None
    with open(f"/proc/{process.pid}/maps") as file:
        return file.readlines()


@pytest.fixture
def interrupted(predict, folder, tmp_path):
    """What is left of a run that answered every image and could not make the table in the end."""
    path = tmp_path / "answers.jsonl"
    (tmp_path / ".answers.jsonl.part").mkdir()
    assert predict(folder, "--output", path, "--model", "brightness:1").returncode == 1
    (tmp_path / ".answers.jsonl.part").rmdir()
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((["--model", "brightness:2"], {}), "was started with version 1 (now 2);"),
        ((["--model", "grey"], {}), "was started with model brightness (now grey), version 1 (now 7);"),
        ((["--no-features"], {}), "was started with features True (now False);"),
        ((["--contributions"], {}), "was started with contributions False (now True);"),
        (([], {"MIN_CONFIDENCE": 0.9}), "was started with min_confidence 0 (now 0.9);"),
        ((["examples"], {}), "/images (now "),
    ],
)
def test_a_table_goes_on_as_it_was_begun_or_not_at_all(predict, folder, interrupted, change, words):
    journal = interrupted.with_name(".answers.jsonl.journal")
    before = journal.read_bytes()
    arguments, settings = change

    done = predict("--output", interrupted, "--model", "brightness:1", folder, *arguments, **settings)

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.endswith(f"continue it as it was started, or remove {journal} to start again\n")
    assert done.stderr.count("\n") == 1
    assert journal.read_bytes() == before
    assert not interrupted.exists()


def test_a_copy_of_a_model_is_another_model(predict, models, folder, interrupted, tmp_path):
    shutil.copytree(models / "brightness" / "1", tmp_path / "models" / "copy" / "1")

    done = predict("--output", interrupted, "--model", "copy", folder, MODELS_DIR=tmp_path / "models")

    assert done.returncode == 2
    assert "was started with model brightness (now copy);" in done.stderr


def test_a_model_whose_file_was_replaced_is_another_model(predict, folder, interrupted, tmp_path):
    toys.publish(tmp_path / "models", "brightness", 1, toys.artifact(offset=0.3))

    done = predict("--output", interrupted, "--model", "brightness:1", folder, MODELS_DIR=tmp_path / "models")

    assert done.returncode == 2
    assert re.search(r"was started with sha256 \w{64} \(now \w{64}\);", done.stderr)
    assert not interrupted.exists()


def test_what_failed_changed_or_went_is_as_it_is_now(predict, folder, interrupted):
    (folder / "broken.png").write_bytes(toys.plain(255))
    (folder / "0.png").write_bytes(toys.plain(255))
    (folder / "90.png").unlink()
    (folder / "new.png").write_bytes(toys.plain(0))

    done = predict(folder, "--output", interrupted, "--model", "brightness:1")

    assert done.returncode == 0
    assert "continuing after 2 finished images; 2 that could not be used, or have changed, are tried" in done.stderr
    assert "; 1 that no longer exist, or were not named this time, are left out" in done.stderr
    rows = [(row["file"].rpartition("/")[2], row["label"], row["error"]) for row in read(interrupted)]
    labels = [(name, label) for name, label, error in rows if error is None and name != "noise.JPG"]
    assert labels == [("0.png", "bright"), ("255.png", "bright"), ("broken.png", "bright"), ("new.png", "dark")]
    assert len(rows) == 5


def test_an_image_that_an_archive_has_replaced_is_tried_again(predict, folder, tmp_path):
    """It may give all files the same time, and those of some formats have the same size."""
    image, table = folder / "image.bmp", tmp_path / "answers.jsonl"
    image.write_bytes(toys.plain(0, kind="BMP"))
    os.utime(image, (1e9, 1e9))
    (tmp_path / ".answers.jsonl.part").mkdir()
    assert predict(image, "--output", table).returncode == 1
    (tmp_path / ".answers.jsonl.part").rmdir()

    image.write_bytes(toys.plain(255, kind="BMP"))
    os.utime(image, (1e9, 1e9))
    done = predict(image, "--output", table)

    assert "1 that could not be used, or have changed, are tried again" in done.stderr
    assert [row["label"] for row in read(table)] == ["bright"]


def test_an_image_named_in_two_ways_is_one_row_and_counted_once(predict, folder, interrupted):
    again = folder / "deep" / ".."

    done = predict(folder, again, "--output", interrupted, "--model", "brightness:1")

    assert "continuing after 4 finished images; 1 that could not be used" in done.stderr
    assert "left out" not in done.stderr
    assert len(read(interrupted)) == 5


def test_files_whose_names_look_alike_have_a_row_each(predict, tmp_path):
    """One has a byte that is not UTF-8, the other the text that this byte is shown as."""
    root, table = tmp_path / "images", tmp_path / "answers.jsonl"
    root.mkdir()
    for name, value in ((b"a\xff.png", 0), (rb"a\xff.png", 255)):
        (root / os.fsdecode(name)).write_bytes(toys.plain(value))

    assert predict(root, "--output", table).returncode == 0

    assert [(row["file"], row["label"]) for row in read(table)] == [
        (f"{root}/a\\xff.png", "bright"),
        (f"{root}/a\\xff.png", "dark"),
    ]


def test_a_row_that_an_older_version_may_have_confused_is_made_again(predict, folder, interrupted):
    """It wrote two names alike, so that the stamp alone, of size and times, told whose row it was."""
    odd = folder / os.fsdecode(b"a\xff.png")
    odd.write_bytes(toys.plain(255))
    path = interrupted.with_name(".answers.jsonl.journal")
    (dark,) = [line for line in path.read_bytes().splitlines() if b"/0.png" in line]
    row = json.loads(dark) | {"path": f"{folder}/a\\xff.png", "stamp": identity.stamp(odd)}
    path.write_bytes(path.read_bytes() + json.dumps(row).encode() + b"\n")

    done = predict(folder, "--output", interrupted, "--model", "brightness:1")

    assert "continuing after 4 finished images" in done.stderr
    assert [row["label"] for row in read(interrupted) if row["file"].endswith("xff.png")] == ["bright"]


def test_what_lies_beside_the_folder_that_a_link_leads_to_has_a_row_of_its_own(predict, tmp_path):
    """As for the system; the text alone would say that it is the file beside the link."""
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "folder")
    here, there = tmp_path / "x.png", tmp_path / "link" / ".." / "x.png"
    here.write_bytes(toys.plain(0))
    there.write_bytes(toys.plain(255))
    plainly = tmp_path / "elsewhere" / "x.png"
    table = tmp_path / "answers.jsonl"

    done = predict(here, plainly, there, "--output", table)

    assert done.stderr.endswith("2 images\n")
    assert [(row["file"], row["label"]) for row in read(table)] == [(str(here), "dark"), (str(there), "bright")]


def test_a_damaged_line_of_the_journal_is_made_again(predict, folder, interrupted):
    journal = interrupted.with_name(".answers.jsonl.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"\0" * 100 + b"\n", *lines[3:]]))

    assert predict(folder, "--output", interrupted, "--model", "brightness:1").returncode == 65
    assert len({row["file"] for row in read(interrupted)}) == len(read(interrupted)) == 5


def test_a_table_whose_run_was_ended_as_it_began_is_begun_again(predict, folder, tmp_path):
    """By a full disk, say, in the first line of its journal: there is nothing to continue, and nothing that differs."""
    (tmp_path / ".answers.jsonl.journal").write_bytes(b'{"model":"brightness","vers')

    done = predict(folder / "0.png", folder / "255.png", "--output", tmp_path / "answers.jsonl")

    assert (done.returncode, "continuing" in done.stderr) == (0, False), done.stderr
    assert [row["label"] for row in read(tmp_path / "answers.jsonl")] == ["dark", "bright"]


def test_an_image_that_changes_while_it_is_classified_is_tried_again(models, monkeypatch, tmp_path):
    image, table, decode = tmp_path / "image.png", tmp_path / "answers.jsonl", Offline.decode
    image.write_bytes(toys.plain(0))
    for name, value in environment(models).items():
        monkeypatch.setenv(name, value)

    def decode_and_change(offline, file):
        decoded = decode(offline, file)
        file.write_bytes(toys.plain(255))
        return decoded

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Offline, "decode", decode_and_change)
        (tmp_path / ".answers.jsonl.part").mkdir()
        assert main(["predict", str(image), "--output", str(table)]) == 1
    (tmp_path / ".answers.jsonl.part").rmdir()

    assert main(["predict", str(image), "--output", str(table)]) == 0
    assert [row["label"] for row in read(table)] == ["bright"]


def test_a_table_begun_by_an_older_version_goes_on(predict, folder, interrupted):
    """Its journal says nothing of contributions, which there were none of."""
    journal = interrupted.with_name(".answers.jsonl.journal")
    journal.write_bytes(journal.read_bytes().replace(b'"contributions":false,', b"", 1))

    done = predict(folder, "--output", interrupted, "--model", "brightness:1")

    assert "continuing after 4 finished images" in done.stderr
    assert len(read(interrupted)) == 5


def test_two_runs_do_not_write_one_table(predict, folder, tmp_path):
    with (tmp_path / ".answers.csv.journal").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = predict(folder, "--output", tmp_path / "answers.csv")

    assert (done.returncode, "another run" in done.stderr) == (2, True)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_seen_enough(models, folder, options):
    """As ``| head -1`` does: quietly, with the exit code of a tool that SIGPIPE has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "app", "predict", str(folder / "0.png"), str(folder / "255.png"), *options],
        cwd=ROOT,
        env=environment(models),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_result_that_cannot_be_written_is_what_is_said(models, form):
    """As where standard output is a file on a full disk."""
    command = [sys.executable, "-m", "app", "predict", "examples/digit.png", "--model", "grey", *form]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(models), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (1, "error: the result cannot be written: No space left on device\n")


@pytest.mark.parametrize("arguments", [[], ["x.png", "--top", "0"], ["x.png", "--output", "x.xlsx"]])
def test_usage_errors_take_one_line(capsys, arguments):
    """It says how to get the list of all options, which is longer."""
    with pytest.raises(SystemExit) as caught:
        main(["predict", *arguments])

    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"python -m app predict: error: .+ \(all options: python -m app predict --help\)\n", said)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing.png"], (66, "does not exist")),
        (["examples/digit.png/1.png"], (66, "examples/digit.png/1.png does not exist")),
        (["pyproject.toml"], (65, "not an image")),
        (["deploy"], (66, "holds no image")),
        (["examples/digit.png", "--model", "nothing"], (66, "there are bands, brightness, grey")),
        (["examples/digit.png", "--model", "grey", "--explain", "/dev/null"], (65, "carries no maps")),
        (["examples", "examples/digit.png", "--explain", "/dev/null"], (2, "name one")),
        (["examples/digit.png", "--explain", "why.jpg"], (2, "writes a PNG")),
        (["examples/digit.png", "--explain", "why.png", "--label", "x"], (2, "'x'; there are dark, bright")),
        (["examples/digit.png", "--explain", "why.png", "--branch", "x"], (2, "'x'; there are top_left, ")),
        (["examples/digit.png", "--explain", "/dev/full"], (1, "/dev/full cannot be written: No space left on device")),
        (["examples/digit.png", "--explain", "nowhere/why.png"], (66, "no folder nowhere to write why.png into")),
        (["examples/digit.png", "--explain", "why.png", "--output", "a.csv"], (2, "leave out one of them")),
        (["examples/digit.png", "--model", "nothing", "--label", "dark"], (2, "add --explain")),  # before it is loaded
        (["examples/digit.png", "--branch", "top_left"], (2, "add --explain")),
        (["examples/digit.png", "--contributions"], (2, "add --json, or --output TABLE")),
        (["examples/digit.png", "--top", "3"], (2, "add --json")),
        (["examples/digit.png", "--model", "brightness:9"], (66, "'brightness' has 1, 2")),
        (["examples/digit.png", "--model", "brightness/2"], (66, "write 'brightness:2'")),
        (["examples/digit.png", "--model", ""], (66, "there is no model ''")),
        (
            ["examples/digit.png", "--model", "models/digits-regions"],
            (66, "folder, set MULTIPOOL_MODELS_DIR"),
        ),
        (["examples", "--output", "nowhere/answers.csv"], (66, "no folder nowhere")),
        (["examples", "--output", "answers.xls"], (2, "must end in .csv")),
        (["examples", "--output", "answers.csv", "--top", "1"], (2, "leave out --top")),
        (["examples", "--output", "answers.csv", "--json"], (2, "leave out --top and --json")),
        ([], (2, "IMAGE")),
    ],
)
def test_what_cannot_be_done_is_said(models, monkeypatch, capsys, arguments, expected):
    for name, value in environment(models).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)

    try:
        found = main(["predict", *arguments])
    except SystemExit as exit_:  # a usage error ends in the parser
        found = exit_.code

    code, words = expected
    said = capsys.readouterr().err
    assert (found, words in said) == (code, True), said


def test_a_folder_that_cannot_be_read_is_not_left_out_in_silence(models):
    settings = Settings(models_dir=models, default_model="brightness", device="cpu")
    offline = Offline(open_version(settings, None), settings)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "closed")
        folder.mkdir()
        (folder / "image.png").write_bytes(toys.plain(255))
        Path(root, "open.png").write_bytes(toys.plain(255))
        Path(root).chmod(0o755)
        with closed(folder):
            found = dict(offline.classify(find([Path(root)]), top=None, features=False))

    assert str(found[str(folder)]) == "it cannot be read: Permission denied"
    assert found[f"{root}/open.png"]["label"] == "bright"


@pytest.mark.parametrize("named", ["", "listed", "listed/image.png"])
def test_an_image_in_a_folder_that_can_only_be_listed_does_not_end_the_run(models, named):
    settings = Settings(models_dir=models, default_model="brightness", device="cpu")
    offline = Offline(open_version(settings, None), settings)
    with tempfile.TemporaryDirectory() as root:
        listed = Path(root, "listed")
        listed.mkdir()
        (listed / "image.png").write_bytes(toys.plain(255))
        Path(root, "open.png").write_bytes(toys.plain(255))
        Path(root).chmod(0o755)
        with closed(listed, 0o444):
            paths = [Path(root, named), Path(root, "open.png")]
            found = dict(offline.classify(find(paths), top=None, features=False))
            folders = identity.folders(paths)  # noted when a table is written

    assert str(found[f"{root}/listed/image.png"]) == "it cannot be read: Permission denied"
    assert found[f"{root}/open.png"]["label"] == "bright"
    assert {root} <= set(folders) <= {root, str(listed)}


def test_the_order_in_which_folders_are_named_is_no_reason_not_to_go_on():
    paths = [Path("/nowhere", name, "image.png") for name in "gfedcba"]

    assert identity.folders(paths) == identity.folders(paths[::-1]) == [f"/nowhere/{name}" for name in "abcdefg"]


def test_options_that_do_not_go_together_draw_nothing(predict, tmp_path):
    done = predict("examples/digit.png", "--explain", tmp_path / "why.png", "--contributions")

    assert (done.returncode, "add --json, or --output TABLE" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def test_a_table_is_written_where_the_file_system_has_no_locks(predict, folder, tmp_path):
    code = (
        "import errno, fcntl\ndef flock(*_): raise OSError(errno.ENOLCK, 'No locks available')\nfcntl.flock = flock\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)

    done = predict(folder / "0.png", "--output", tmp_path / "table.csv", python_path=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"{tmp_path}/table.csv: 1 image\n")
    assert [row["label"] for row in read(tmp_path / "table.csv")] == ["dark"]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("sitecustomize", "import sys; sys.modules['pyarrow'] = None"),
        ("pyarrow", "raise ImportError('libarrow.so: cannot open shared object file')"),
    ],
)
def test_parquet_without_pyarrow_says_what_to_install(predict, tmp_path, module, code):
    """Before any image is read."""
    (tmp_path / f"{module}.py").write_text(code)

    done = predict("examples/digit.png", "--output", tmp_path / "a.parquet", python_path=tmp_path)

    assert done.returncode == 2
    assert f"needs pyarrow: {interpreter.command()} -m pip install pyarrow, or name" in done.stderr
    assert predict("examples/digit.png", "--output", tmp_path / "a.csv", python_path=tmp_path).returncode == 0
