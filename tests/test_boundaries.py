"""Who may import whom: the service knows nothing of training, and dependencies go one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TRAINING = ("tensorflow", "keras", "onnx", "tf2onnx", "model_export", "sklearn", "rich", "matplotlib", "yaml")
SHARED = {
    "app",
    "app.ahead",
    "app.decoders",
    "app.decoders.bands",
    "app.decoders.formats",
    "app.devices",
    "app.digest",
    "app.drift",
    "app.errors",
    "app.escaping",
    "app.explanation",
    "app.familiarity",
    "app.images",
    "app.interpreter",
    "app.interrupts",
    "app.memory",
    "app.metadata",
    "app.model",
    "app.probe",
    "app.registry.artifacts",
    "app.registry.layout",
    "app.sessions",
    "app.statistics",
    "app.streams",
}
FORBIDDEN = {
    "app.decoders": ["app.http", "app.offline", "app.registry", "app.routes", "app.server", "fastapi", "onnxruntime"],
    "app.registry": ["app.http", "app.offline", "app.routes", "app.server", "fastapi"],
    "app.http": ["app.offline", "app.routes", "app.server", "uvicorn"],
    "app.server": ["app.main", "app.offline", "app.routes", "fastapi"],
    "app.offline": ["app.http", "app.main", "app.routes", "app.server", "fastapi", "uvicorn"],
    "app.routes": ["app.main", "app.offline", "app.server", "uvicorn"],
}
"""What the modules of a package do not import, directly."""
EXPORT = {
    "console": [],
    "data": ["console"],
    "networks": [],
    "figures": ["console", "data", "datasets"],
    "fitting": ["console", "data"],
    "artifact": [
        *("console", "data", "figures", "fitting"),
        *("architectures", "conversion", "datasets", "publishing", "training", "verification"),
    ],
    "reporting": [
        *("artifact", "console", "figures", "fitting"),
        *("architectures", "comparison", "datasets", "publishing", "training", "verification"),
    ],
}
"""What the packages of the export stage import of it, beside ``choices``, ``errors`` and ``files``."""


def imports(path):
    """Every module that a file imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            if (ROOT / Path(*node.module.split("."))).is_dir():
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


APP = {module(path): imports(path) for path in (ROOT / "app").rglob("*.py")}


def test_the_service_imports_nothing_of_training():
    for name, imported in APP.items():
        forbidden = {other for other in imported if other.split(".")[0] in TRAINING}
        assert not forbidden, name


def test_the_export_stage_imports_only_what_is_shared():
    for path in (ROOT / "model_export").rglob("*.py"):
        assert {name for name in imports(path) if name.split(".")[0] == "app" and name in APP} <= SHARED, path


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("app.__main__", [*TRAINING[:5], "sklearn", "scipy", "tifffile", "prometheus_client"]),
        ("app.images, app.metadata, app.errors", ["fastapi", "onnxruntime", "uvicorn"]),
        ("app.offline.predict", ["fastapi", "starlette", "uvicorn", "multipart"]),
        ("model_export.__main__", ["tensorflow", "keras", "fastapi"]),
    ],
)
def test_what_is_imported_in_a_fresh_interpreter(imported, absent):
    code = f"import sys, {imported}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_packages_hold_nothing_but_code_and_the_page():
    """No leftovers of merges or editors."""
    kinds = {".py", ".html", ".css", ".js", ".svg"}
    found = [path for package in ("app", "model_export") for path in (ROOT / package).rglob("*") if path.is_file()]

    assert [path for path in found if path.suffix not in kinds and "__pycache__" not in path.parts] == []


def test_no_import_goes_in_a_circle():
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path, name])
        if name in done:
            return
        path.append(name)
        for other in APP[name]:
            if other in APP and other != "app":
                visit(other)
        path.pop()
        done.add(name)

    for name in APP:
        visit(name)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_keep_to_themselves(package):
    members = {name: imported for name, imported in APP.items() if name.startswith(f"{package}.")}

    assert members
    for name, imported in members.items():
        for other in FORBIDDEN[package]:
            assert not {one for one in imported if f"{one}.".startswith(f"{other}.")}, name


def test_only_the_process_and_its_doctor_know_of_http_and_the_server():
    above = ("app.http", "app.routes", "app.server")
    top = {name: imported for name, imported in APP.items() if name.count(".") == 1 and name not in FORBIDDEN}
    found = {name for name, imported in top.items() if {".".join(one.split(".")[:2]) for one in imported} & {*above}}

    assert found == {"app.main", "app.serving", "app.doctor"}


def test_decoders_import_nothing_of_the_project_but_its_errors():
    for name, imported in APP.items():
        if name.startswith("app.decoders."):
            assert {one for one in imported if one.startswith("app.") and "decoders" not in one} <= {"app.errors"}, name


@pytest.mark.parametrize("package", EXPORT)
def test_packages_of_the_export_stage_import_those_below(package):
    allowed = {package, "choices", "errors", "files", *EXPORT[package]}

    for path in (ROOT / "model_export" / package).rglob("*.py"):
        imported = {name.split(".")[1] for name in imports(path) if name.startswith("model_export.")}
        assert imported <= allowed, path


def test_errors_know_no_http():
    assert APP["app.errors"] == set()
    assert not APP["app.images"] & {"fastapi", "starlette"}


def test_only_main_knows_both_the_settings_and_the_application():
    assert {name for name, imported in APP.items() if {"app.settings", "app.routes"} <= imported} == {"app.main"}


def test_catching_everything_is_rare():
    """Decoders, graphs, loading, watching, requests, commands are guarded where they begin, lest mistakes hide."""
    blind = {
        name: source.count("except Exception")
        for name, source in ((module(path), path.read_text()) for path in (ROOT / "app").rglob("*.py"))
        if "except Exception" in source
    }
    assert blind == {
        "app.batching": 2,
        "app.faults": 2,
        "app.images": 1,
        "app.interrupts": 1,
        "app.model": 1,
        "app.http.context": 1,
        "app.http.failures": 1,
        "app.routes.direct": 1,
        "app.starting": 2,
        "app.sessions": 1,
        "app.watching": 1,
    }
