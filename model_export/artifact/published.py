"""A published version, as its metadata describes it."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_export.artifact.calibration import Calibration
from model_export.artifact.opening import listed, undamaged
from model_export.artifact.precision import Reduced
from model_export.publishing import versions
from model_export.verification import Difference

if TYPE_CHECKING:
    from app.metadata import Metadata
    from model_export.figures.classes import Figures
    from model_export.training import Outcome


@dataclass(frozen=True)
class Published:
    """A published version and its figures."""

    folder: Path
    metrics: dict[str, dict[str, float]]
    differences: list[Difference]
    calibration: Calibration
    reduced: Reduced | None
    held_out: int
    """Number of images that familiarity compares with; 0 if the artifact has no statistics."""
    mistakes: int
    """Number of images on the contact sheet of the run."""
    change: str = ""
    """How validation accuracy changed with it, in words; empty for the first version."""
    classes: dict[str, Figures] = field(default_factory=dict)
    """The figures of each class, for the splits that were not learned from."""

    @classmethod
    def of(cls, folder: Path, metadata: Metadata, mistakes: int = 0, change: str = "") -> Published:
        """Take it from the metadata of a published version."""
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
            metadata.classes,
        )

    def is_newest(self) -> bool:
        """Whether there is no later version of its model."""
        return int(self.folder.name) == versions(self.folder.parent)[-1]

    def displaced(self) -> str | None:
        """Name the model that was first by name until now, and so answered requests without ``model=``."""
        name, repository = self.folder.parent.name, self.folder.parent.parent
        names = [found.name for found in listed(repository)]
        others = [other for other in names if other != name]
        return others[0] if others and name < others[0] and names.count(name) == 1 else None

    def document(self) -> dict[str, Any]:
        """Convert it to JSON values."""
        return {
            "published": str(self.folder),
            "metrics": self.metrics,
            "classes": self.classes,
            "differences": [asdict(difference) for difference in self.differences],
            "calibration": asdict(self.calibration),
            "precision": self.reduced and asdict(self.reduced),
            "held_out": self.held_out,
        }


def find(arguments: argparse.Namespace, outcome: Outcome) -> Published | None:
    """Find the highest version that was published from the same weights, with the same name and precision.

    Every version names the checkpoint it was made from and the number of epochs; damaged ones are skipped.
    """
    wanted = outcome.checkpoint, outcome.epochs, arguments.precision
    for found, model in undamaged(arguments.output, arguments.name):
        metadata, record = model.metadata, model.metadata.training
        if (record.get("checkpoint_sha256"), record.get("epochs"), metadata.precision) == wanted:
            return Published.of(found.path.parent, metadata)
    return None
