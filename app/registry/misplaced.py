"""What lies in the model repository's folder, but is not served because of its name, its place or its kind."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from app.registry.layout import FILE, NAME, VERSION


def passed_over(root: Path) -> list[str]:
    """Say what below ``root`` would be a model or version but for its name, place or kind, or a link to nothing.

    Each line ends with what to do.
    """
    names, versions = set(), set()
    for version in (path.parent for path in _matching(root, f"*/*/{FILE}") if os.path.exists(path)):
        if NAME.fullmatch(version.parent.name) is None:
            names.add(version.parent.name)
        elif VERSION.fullmatch(version.name.partition(".")[0]) is None:  # as 2.withdrawn, which is meant so
            versions.add(f"{version.parent.name}/{version.name}")
    return [
        *(
            f"passed over {name!r}: the name of a model has lower-case letters, digits, '-' and '_' only, and begins "
            "with a letter or digit; rename the folder"
            for name in sorted(names)
        ),
        *(
            f"passed over {name!r}: a version is a positive whole number of up to 9 digits, without zeros in front; "
            "rename the folder"
            for name in sorted(versions)
        ),
        *(
            f"passed over '{link.relative_to(root)}': it is a link, and what it leads to is not there (in a container: "
            "not mounted); put the folder itself here, or mount what the link leads to"
            for link in _broken_links(root)
        ),
        *(
            f"passed over '{path.relative_to(root)}': it is not a file (Docker makes a folder where one that is to be "
            "mounted is missing); remove it, and put the file there"
            for path in sorted(_matching(root, f"*/*/{FILE}"))
            if os.path.exists(path) and not os.path.isfile(path)
        ),
        *(f"passed over {str(path.relative_to(root))!r}: {why}" for path, why in _in_wrong_places(root)),
    ]


def _in_wrong_places(root: Path) -> list[tuple[Path, str]]:
    """List the model files that are in no version's folder, or named otherwise there; with what to do."""
    stray = _matching(root, "*.onnx") + _matching(root, "*/*.onnx")
    versions = [path for path in _matching(root, "*/[1-9]*") if VERSION.fullmatch(path.name)]
    if not versions and (inside := [path for path in stray if VERSION.fullmatch(path.parent.name)]):
        return [(min(inside), "the folder is that of one model; set MULTIPOOL_MODELS_DIR to the folder above it")]
    other = [path for home in versions if not os.path.lexists(home / FILE) for path in _matching(home, "*.onnx")]
    return [
        *((path, f"it is in no version's folder; move it to <name>/<version>/{FILE}") for path in sorted(stray)),
        *((path, f"the file of a version is named {FILE}; rename it") for path in sorted(other)),
    ]


def _broken_links(root: Path) -> list[Path]:
    """List the models, versions and files that are links to nothing: in a container, often to what is outside."""
    places = (path for place in ("*", "*/*", f"*/*/{FILE}") for path in _matching(root, place))
    return sorted(path for path in places if os.path.islink(path) and not os.path.exists(path))


def _matching(root: Path, pattern: str) -> list[Path]:
    """List what matches and is not hidden, links to nothing too; ``root.glob`` raises where a folder cannot be read."""
    return [root / name for name in glob.glob(pattern, root_dir=root)]
