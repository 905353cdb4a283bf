"""``python -m benchmarks.familiarity`` names each row after its source."""

import sys

import numpy as np

from benchmarks import familiarity
from tests import toys


def test_a_folder_is_named_without_its_path(tmp_path, monkeypatch, capsys):
    toys.publish(tmp_path / "models", "toy", 1, toys.artifact(statistics=toys.statistics()))
    random = np.random.default_rng(0)
    for kind in ("known", "of/another/folder/strange"):
        for index in range(8):
            for label, low in (("dark", 0), ("bright", 127)):
                file = tmp_path / kind / label / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(toys.save(random.integers(low, low + 128, (8, 8, 3)).astype(np.uint8)))
    folders = [str(tmp_path / "known"), str(tmp_path / "of/another/folder/strange")]
    monkeypatch.setattr(sys, "argv", ["familiarity", "toy", *folders, "--repository", str(tmp_path / "models")])

    familiarity.main()

    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith("strange  ") for row in rows) == 1, rows
    assert not [row for row in rows if "/" in row.split("  ")[0]]
