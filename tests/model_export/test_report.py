"""What can be done next is printed as it can be pasted."""

import shlex
import sys

from model_export import invocation, report
from tests import toys


def test_the_commands_that_follow_name_folders_with_spaces(tmp_path):
    repository = tmp_path / "my models"
    for version in (1, 2):
        published = toys.publish(repository, "light", version).parent

    lines = report.next_commands(published).splitlines()

    inspect, verify, serve, _, back = (line.split(None, 1)[1] for line in lines[1:])
    assert shlex.split(inspect)[-2:] == ["inspect", str(published)]
    assert shlex.split(verify)[-3:] == ["verify", str(published), "DATA"]
    assert shlex.split(serve) == [f"MULTIPOOL_MODELS_DIR={repository}", "make", "serve"]
    assert shlex.split(back.partition(", or ask")[0])[-2:] == ["-r", str(published)]


def test_the_program_may_lie_in_a_folder_with_spaces(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my env" / "python"))

    assert shlex.split(invocation.program()) == ["my env/python", "-m", "model_export"]
