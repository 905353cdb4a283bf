"""Checks whether a new version may replace the previous one: a running service uses the highest version at once.

A model with other classes, or one that is worse, is easily published under an existing name by mistake.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from app.registry.artifacts import Found
from model_export.artifact.opening import undamaged
from model_export.console.invocation import program
from model_export.console.numbers import shortened
from model_export.errors import BadSuccessor
from model_export.figures.metrics import in_groups, interval_of

if TYPE_CHECKING:
    from pathlib import Path

    from app.images import Shape
    from app.metadata import Metadata
    from model_export.fitting.runs import Run


@dataclass(frozen=True)
class Predecessor:
    """The version that a new one would replace, as its metadata describes it."""

    found: Found
    shape: Shape
    metadata: Metadata

    def check_kind(self, labels: tuple[str, ...], shape: Shape, otherwise: str) -> None:
        """Check that a network has the same classes and input size.

        Args:
            labels: The classes; their order does not matter.
            shape: Of the images.
            otherwise: How to publish it anyway, in words.

        Raises:
            BadSuccessor: It has others.
        """
        lacking, new = set(self.metadata.labels) - set(labels), set(labels) - set(self.metadata.labels)
        changes = {"lacks": sorted(lacking), "adds": sorted(new)}
        others = [f"{word} {shortened(map(repr, some))}" for word, some in changes.items() if some]
        if others:
            self._refuse(f"knows other classes: the new model {' and '.join(others)}", otherwise)
        if self.shape != shape:
            sizes = ("×".join(map(str, each)) for each in (self.shape, shape))
            self._refuse("reads images of {}, the new model {}".format(*sizes), otherwise)

    def check_accuracy(self, document: Metadata, baseline: float, otherwise: str) -> None:
        """Check that a model is not clearly worse.

        On the same validation images, it is clearly worse if its accuracy is below the 95 % interval of the other
        one's (for new groups, if the images are grouped); on others, only if it has learned nothing. The same weights
        in a smaller precision are judged in :mod:`model_export.artifact.precision`.

        Args:
            document: Of the model.
            baseline: The accuracy of always naming one class on its validation images.
            otherwise: How to publish it anyway, in words.

        Raises:
            BadSuccessor: It is clearly worse.
        """
        if self._same("checkpoint_sha256", document) or not self._figures:
            return
        after, was = document.metrics["validation"]["accuracy"], self._figures
        low, _ = interval_of(was)
        if self._same("fingerprint", document) and after < low:
            self._refuse(
                f"is clearly better on the same {was['images']:,.0f} validation images{in_groups(was)}: "
                f"{self.change(document)}, where chance explains no less than {low:.4f}",
                otherwise,
            )
        if after <= baseline and after < was["accuracy"]:
            self._refuse(
                f"is better: {self.change(document)}; the new model is no better than always naming one class "
                f"({baseline:.4f})",
                otherwise,
            )

    def change(self, document: Metadata) -> str:
        """Describe how validation accuracy changes with a new version."""
        if not self._figures:
            return ""
        other = "" if self._same("fingerprint", document) else ", on other images"
        before, after = self._figures["accuracy"], document.metrics["validation"]["accuracy"]
        return f"validation accuracy {before:.4f} (version {self.found.number}{other}) → {after:.4f}"

    @property
    def _figures(self) -> dict[str, float]:
        return self.metadata.metrics.get("validation", {})

    def _same(self, what: str, document: Metadata) -> bool:
        return self.metadata.training.get(what) == document.training[what]

    def _refuse(self, why: str, otherwise: str) -> NoReturn:
        raise BadSuccessor(f"{self.found.reference}, which it would replace, {why}. Nothing was published: {otherwise}")


def find(repository: Path, name: str) -> Predecessor | None:
    """Find the highest published version of a model that can be read; None if there is none."""
    readable = (Predecessor(found, model.shape, model.metadata) for found, model in undamaged(repository, name))
    return next(readable, None)


def otherwise(arguments: argparse.Namespace, run: Run | None = None) -> str:
    """Say how to publish anyway: before training with other options, afterwards from the run."""
    if run is None:
        return "choose another --name, or --replace-anyway"
    return (
        f"publish it under another --name, or replace that version anyway: {again(arguments, run, '--replace-anyway')}"
    )


def again(arguments: argparse.Namespace, run: Run, options: str) -> str:
    """Write the command that publishes a run as was tried now, but with other options."""
    by = arguments.published_by
    command = by if by.startswith("publish ") else f"publish {shlex.quote(str(run.folder))}"
    name, _, value = options.partition(" ")
    if value:  # it replaces the one that was given
        command = re.sub(rf" {name}[ =]\w+", "", command)
    return f"{program(arguments.data)} {command} {options}"
