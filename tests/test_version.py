"""One version, said in one place, and the same wherever it has to be repeated."""

import re
import tomllib

import pytest

from app import __version__
from app.__main__ import main as app
from app.main import create_app
from app.settings import Settings
from model_export.__main__ import main as export
from tests.conftest import ROOT


@pytest.mark.parametrize("main", [app, export])
def test_both_command_lines_print_it_on_one_line(main, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"multipool {__version__}\n"


def test_the_package_takes_it_from_the_code():
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert "version" not in document["project"]
    assert document["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "app.__version__"}


def test_the_image_and_the_service_say_the_same(models):
    label = re.search(r'org\.opencontainers\.image\.version="([^"]+)"', (ROOT / "Dockerfile").read_text())[1]

    assert label == create_app(Settings(models_dir=models)).version == __version__
