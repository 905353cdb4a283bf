"""What was published, as the artifact says of itself."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import NothingToServe
from app.registry.artifacts import discover
from model_export.artifact.calibration import Calibration
from model_export.artifact.precision import Reduced
from model_export.artifact.succession import read
from model_export.publishing import versions
from model_export.verification import Difference

if TYPE_CHECKING:
    from app.metadata import Metadata
    from model_export.training import Outcome


@dataclass(frozen=True)
class Published:
    """What was published, and what was measured on the way."""

    folder: Path
    metrics: dict[str, dict[str, float]]
    differences: list[Difference]
    calibration: Calibration
    reduced: Reduced | None
    held_out: int
    """Images that familiarity compares with; 0 where the artifact carries no statistics for it."""
    mistakes: int
    """Images on the contact sheet of the run."""
    change: str = ""
    """How validation accuracy changed with it, in words; empty for the first version."""

    @classmethod
    def of(cls, folder: Path, metadata: Metadata, mistakes: int = 0, change: str = "") -> Published:
        """Take it from what a published version says of itself."""
        reduced = metadata.training.get("precision")
        return cls(
            folder,
            metadata.metrics,
            [Difference(**entry) for entry in metadata.parity],
            Calibration(**metadata.calibration),
            reduced and Reduced(**reduced),
            metadata.statistics.held_out if metadata.statistics else 0,
            mistakes,
            change,
        )

    def is_newest(self) -> bool:
        """Tell whether there is no later version of its model."""
        return int(self.folder.name) == versions(self.folder.parent)[-1]

    def displaced(self) -> str | None:
        """Name the model that this one, the first version of its name, replaces where a request names none."""
        name, repository = self.folder.parent.name, self.folder.parent.parent
        names = []
        with suppress(NothingToServe):
            names = [found.name for found in discover(repository)]
        others = [other for other in names if other != name]
        return others[0] if others and name < others[0] and names.count(name) == 1 else None

    def document(self) -> dict[str, Any]:
        """Write it as JSON values."""
        return {
            "published": str(self.folder),
            "metrics": self.metrics,
            "differences": [asdict(difference) for difference in self.differences],
            "calibration": self.calibration.document(),
            "precision": self.reduced and self.reduced.document(),
        }


def find(arguments: argparse.Namespace, outcome: Outcome) -> Published | None:
    """Find the highest version that was published from the same weights, with the same name and precision.

    Every version says which checkpoint it was made from, after how many epochs; one that is damaged does not count.
    """
    wanted = outcome.checkpoint, outcome.epochs, arguments.precision
    with suppress(NothingToServe):
        for found in reversed(discover(arguments.output)):
            if found.name == arguments.name and (model := read(found.path)) is not None:
                metadata, record = model.metadata, model.metadata.training
                if (record.get("checkpoint_sha256"), record.get("epochs"), metadata.precision) == wanted:
                    return Published.of(found.path.parent, metadata)
    return None
