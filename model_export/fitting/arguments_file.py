"""The options of a run in its folder, as YAML: written when it begins, read when it is resumed or published again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from model_export import files
from model_export.errors import BadData

_NOT_KEPT = ("resume", "json", "published_by")
_PATHS, _TUPLES = ("output", "runs", "cache"), ("size", "value_range", "labels")


def write(path: Path, arguments: argparse.Namespace) -> None:
    """Write the options of a run that begins."""
    kept = {name: _plain(value) for name, value in vars(arguments).items() if name not in _NOT_KEPT}
    files.write(path, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, encoding="utf-8"))


def read(path: Path) -> argparse.Namespace:
    """Read the options of a run.

    Raises:
        BadData: The file is damaged.
    """
    try:
        kept = _options(path.read_bytes())
        paths = {name: Path(kept[name]) for name in _PATHS if kept.get(name) is not None}
        tuples = {name: tuple(kept[name]) for name in _TUPLES if kept.get(name)}
        return argparse.Namespace(**{**kept, **paths, **tuples})
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())  # YAML's takes several lines
        raise BadData(f"{path} cannot be read: {reason}; restore it, or train again") from None


def _options(text: bytes) -> dict[str, Any]:
    kept = yaml.safe_load(text)
    if not isinstance(kept, dict):
        raise TypeError("it has no options")
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
