"""What the README says is true."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from app import options as service_options
from app import problems
from app.__main__ import EXIT_CODES as SERVICE_CODES
from app.interrupts import SIGNAL_CODES
from app.routes.predictions import Parameters
from app.settings import PREFIX, Settings
from model_export import options
from model_export.__main__ import EXIT_CODES as EXPORT_CODES
from model_export.console.streams import UNREAD
from tests import toys
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
KNOWN_SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
KNOWN_CODES = {0, 1, 2, UNREAD, *SIGNAL_CODES.values()} | {code for _, code in (*SERVICE_CODES, *EXPORT_CODES)}
SUPPLIED = ["Dockerfile", "Makefile", "docker-compose*.yml", "app/web/*", "deploy/*/*.y*ml", "deploy/**/*.c*f*"]
"""Other files with texts for operators."""


def rows(heading):
    """The cells of the first table below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_tables_are_whole():
    for name, page in PAGES.items():
        before = 0
        for line in re.sub(r"```.*?```", "", page, flags=re.DOTALL).splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert not cells or before in (0, cells), f"{name}: {line}"
            assert not line.startswith(("<<<<<<<", "=======", ">>>>>>>")), f"{name}: left by a merge: {line}"
            before = cells


def test_the_python_of_the_documents_prints_what_they_say():
    snippets = [code for page in PAGES.values() for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
    assert snippets
    for code in snippets:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.stdout.splitlines(), done.stderr) == (re.findall(r"  # (.*)", code), "")


def test_every_setting_is_listed_with_its_default_and_meaning():
    expected = [
        [f"`{name}`", f"`{default}`" if default else "", meaning]
        for name, default, meaning in service_options.settings_table()
    ]

    assert rows("Settings") == expected


def test_every_error_code_is_listed():
    section = README.split("\n| status | `code` |\n")[1].split("\n\n")[0]
    listed = {
        (int(line.split("|")[1]), code)
        for line in section.splitlines()[1:]
        for code in re.findall(r"`([a-z_]+)`", line)
    }
    kinds = [*problems.KINDS.values(), *problems.OF_STATUS.values(), problems.INTERNAL]

    assert listed == {(kind.status, kind.code) for kind in kinds}


def test_every_exit_code_is_listed():
    sentence = README.split("Exit codes: ")[1].split("\n\n")[0]
    listed = {int(number) for number in re.findall(r"\b\d+\b", sentence)}

    assert listed == KNOWN_CODES


def test_every_exit_code_named_elsewhere_is_listed():
    for name, page in PAGES.items():
        codes = re.findall(r"exit code (?:is (?:then )?)?(\d+)", page.replace("\n", " "))
        assert set(map(int, codes)) <= KNOWN_CODES, name


def test_every_make_target_is_listed_and_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE)) - {"help", "clean"}

    assert {row[0] for row in rows("Commands")} == {f"`make {target}`" for target in targets}


@pytest.mark.parametrize(("program", "parser"), [("model_export", options.parser), ("app", service_options.parser)])
def test_the_commands_parse(program, parser):
    commands = [
        command
        for page in PAGES.values()
        for command in re.findall(rf"(?:python -m|docker compose run --rm) {program} ([a-z]+ [^`|>\n]*)", page)
        if "--help" not in command
    ]

    assert len(commands) >= 4
    for command in commands:
        parser().parse_args(shlex.split(command, comments=True))


def test_every_setting_named_anywhere_exists():
    texts = {str(path): path.read_text() for pattern in SUPPLIED for path in ROOT.glob(pattern)} | PAGES

    assert len(texts) > 20
    for name, text in texts.items():
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", text))
        assert named <= KNOWN_SETTINGS, name
    without_prefix = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=\S+)?`", PAGES["reliability.md"]))
    assert {PREFIX + name for name in without_prefix if not name.startswith("OTEL_")} <= KNOWN_SETTINGS


def test_every_option_named_in_the_text_exists():
    """Of the two programs and the benchmarks; others are of curl, pip and the like."""
    sources = [
        ROOT / "app" / "options.py",
        ROOT / "model_export" / "options.py",
        *(ROOT / "benchmarks").glob("*.py"),
    ]
    known = set(re.findall(r'"(--[a-z-]+)"', "".join(path.read_text() for path in sources)))
    others = {"--build", "--data-binary", "--limit-concurrency", "--http", "--help", "--version"}

    for name, page in PAGES.items():
        assert set(re.findall(r"`(--[a-z-]+)", page)) <= known | others, name


def test_the_routes_and_their_parameters_are_listed(server):
    paths = server.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    listed = "".join(rows("HTTP")[index][0] for index in range(10))

    assert {f"`{route}`" for route in routes} <= set(re.findall(r"`[^`]+`", listed))
    parameters = README.split("\n| parameter of ")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)=", parameters.replace("branch[", ""))) == set(Parameters.model_fields)


def test_every_series_named_exists(server):
    there = set(re.findall(r"# TYPE (\S+)", server.get("/metrics").text))

    for name, page in PAGES.items():
        named = set(re.findall(r"\bmultipool_[a-z_]+\b", page))
        assert named <= there, name


def test_every_module_named_and_every_page_linked_exists():
    for name, page in PAGES.items():
        for module in re.findall(r"(?:python -m (?=benchmarks\.)|--http |--factory )([\w.]+)", page):
            assert importlib.util.find_spec(module), f"{name}: {module}"
        for target in re.findall(r'(?:\]\(|src(?:set)?=")([^)#"]+)', page):
            folder = ROOT if name == "README.md" else ROOT / "docs"
            assert (folder / target).exists(), f"{name}: {target}"
        for page_linked, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page):
            assert anchor in anchors(PAGES[page_linked.rpartition("/")[2] or name]), f"{name}: {page_linked}#{anchor}"
        for path in re.findall(r"(?<![(/\w.-])(?:app|benchmarks|deploy|docs|model_export|tests)/[\w./-]*\w", page):
            assert (ROOT / path).exists(), f"{name}: {path}"


def anchors(page):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_comparison_with_other_servers_is_the_same_on_both_pages():
    """Of small images."""
    table = re.search(r"(\| server \| .*?)\n\n", README, re.DOTALL)[1]

    assert table in PAGES["performance.md"]


def test_the_curl_line_gives_the_printed_answer(published):
    """Numbers end to end: decoding, the recipe, the graph and the weights are as they were."""
    printed = json.loads(re.search(r"```json\n(.*?)```", README, re.DOTALL)[1])
    path, image = re.search(r"curl -F file=@(examples/\S+) 'http://127.0.0.1:8000(/predict\S*)'", README).groups()

    answer = published.post(image, files={"file": (ROOT / path).read_bytes()}).json()

    for key in ("model", "version", "label"):
        assert answer[key] == printed[key]
    assert answer["probability"] == pytest.approx(printed["probability"], abs=1e-4)
    assert answer["probabilities"] == pytest.approx(printed["probabilities"], abs=1e-4)
    for found, shown in zip(answer["branches"], printed["branches"], strict=True):
        assert (found["name"], found["pooling"]) == (shown["name"], shown["pooling"])
        assert found["features"][:2] == pytest.approx(shown["features"][:2], abs=1e-4)


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("bash")), reason="jq or bash is absent")
def test_the_lines_for_scripts_end_with_an_error_where_the_readme_says_so(server, tmp_path):
    block = re.search(r"    set -o pipefail\n(    curl -sS --fail-with-body.*?)\n\n", README, re.DOTALL)[1]
    one, batch = block.replace("\\\n", " ").strip().splitlines()
    for name, value in (("image.jpg", 255), ("a.jpg", 255), ("b.jpg", 0)):
        (tmp_path / name).write_bytes(toys.plain(value))

    def run(line, query="", to=str(server.base_url)):
        line = re.sub(r"'?http://127.0.0.1:8000(/[a-z/]+)\?model=my-model'?", rf"'{to}\1{query}'", line)
        command = ["bash", "-c", f"set -o pipefail\n{line}"]  # as the README has it
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run(one) == (0, "bright\n", "")
    assert run(batch) == (0, "a.jpg\tbright\t\nb.jpg\tdark\t\n", "")
    for line in (one, batch):
        code, said, errors = run(line, "?model=nothing")
        assert code
        assert not said
        assert "there is no model 'nothing'" in errors
        assert run(line, to="http://127.0.0.1:1")[0]
    code, _, errors = run(one, "?min_confidence=1")
    assert code
    assert "uncertain" in errors
    (tmp_path / "b.jpg").write_bytes(b"no image")
    assert run(batch) == (0, "a.jpg\tbright\t\nb.jpg\t\tundecodable_image\n", "")


def test_every_module_has_its_line():
    """In docs/design.md, by its name; routes and sources are told of together."""
    named = set(re.findall(r"`(?:app/|model_export/)?(\w+)(?:\.py)?`", PAGES["design.md"]))
    together = {ROOT / "app" / "routes", ROOT / "model_export" / "data" / "sources"}
    modules = {
        path.stem
        for package in ("app", "model_export")
        for path in (ROOT / package).rglob("*.py")
        if path.parent not in together and path.stem not in ("__init__", "__main__")
    }

    assert modules <= named


def test_compose_passes_on_every_setting_but_those_of_the_image_and_no_others():
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in ("docker-compose.yml", "docker-compose.gpu.yml"):
        service = yaml.safe_load((ROOT / name).read_text())["services"]["multipool"]
        passed = {entry.partition("=")[0] for entry in service["environment"]}
        assert passed <= known, name
    inside = {"MODELS_DIR", "HOST", "PORT"}
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["multipool"]["environment"]
    assert {entry.partition("=")[0] for entry in base} == known - {PREFIX + name for name in inside}


def test_requirements_are_pinned_by_hash_and_name_no_index():
    for path in (ROOT / "deploy" / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text, path
        assert "index-url" not in text, path
        packages = re.findall(r"^[a-z0-9].*", text, re.MULTILINE)
        assert packages
        assert all("==" in package for package in packages), path


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_image_holds_one_onnx_runtime_and_nothing_of_training(device):
    text = (ROOT / "deploy" / "requirements" / f"serve-{device}.txt").read_text()
    packages = set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))

    assert {"onnxruntime", "onnxruntime-gpu"} & packages == {{"cpu": "onnxruntime", "cuda": "onnxruntime-gpu"}[device]}
    assert not packages & {"tensorflow", "keras", "tf2onnx", "onnx", "scikit-learn", "pytest"}
