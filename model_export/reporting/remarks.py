"""Messages about training, on standard error: how it went, and warnings."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from app.drift import WINDOW, chance
from model_export import choices
from model_export.console.invocation import program
from model_export.console.numbers import counted
from model_export.console.progress import say
from model_export.figures.metrics import in_groups, interval_of, majority_baseline

if TYPE_CHECKING:
    from model_export.architectures import Network
    from model_export.artifact.precision import Reduced
    from model_export.datasets import Dataset
    from model_export.fitting.budget import Budget
    from model_export.fitting.runs import Run
    from model_export.training import Outcome

_FEW = 100


def say_network(arguments: argparse.Namespace, network: Network, run: Run) -> None:
    """Say what is trained, and in which run folder."""
    count, weights = network.model.count_params(), arguments.weights
    initial = f", initial weights of the trunk {weights}" if weights != "none" else ""
    say(f"{arguments.architecture} on trunk {arguments.trunk}: {count:,} parameters{initial}; run {run.folder}")
    if choices.is_network(weights):
        say(
            "note: that trunk may have learned from images that are in the validation and test splits now, which makes "
            "the figures too good; to be sure, keep folders train, validation and test, and add new images to train"
        )


def say_unfinished(arguments: argparse.Namespace, outcome: Outcome, run: Run) -> None:
    """Say that a run that is published has epochs left, unless it stopped early."""
    waited = outcome.epochs - max(outcome.best_epoch, arguments.freeze_epochs)  # those with a frozen trunk do not count
    if outcome.epochs < arguments.epochs and waited < arguments.patience and not outcome.diverged:
        say(
            f"note: the run is not finished: {outcome.epochs} of {arguments.epochs} epochs; continue with: "
            f"{program(arguments.data)} train --resume {shlex.quote(str(run.folder))}"
        )


def say_outcome(outcome: Outcome, budget: Budget) -> None:
    """Say how training ended and which weights were kept."""
    early = ""
    if outcome.diverged:
        early = f", diverged in epoch {outcome.epochs} (a smaller --learning-rate may help)"
    elif outcome.epochs < budget.epochs:
        early = f", stopped early after {budget.patience} without a better one"
    say(
        f"trained {counted(outcome.epochs, 'epoch')} in {outcome.seconds:.0f} s{early}; "
        f"kept the weights of epoch {outcome.best_epoch}, with the lowest validation loss"
    )


def say_if_guessing(metrics: dict[str, dict[str, float]], dataset: Dataset) -> None:
    """Warn if the model is no better than guessing, or may not be."""
    baseline, found = majority_baseline(dataset.splits["validation"].labels), metrics["validation"]
    if found["accuracy"] <= baseline:
        say(
            f"warning: on the validation images the model is no better than always naming one class "
            f"({baseline:.2f}); it needs more images or more epochs"
        )
    elif (low := interval_of(found)[0]) <= baseline:
        say(
            f"warning: on so few validation images ({found['images']:,.0f}{in_groups(found)}), the model cannot be "
            f"told from one that always names one class: the 95 % interval of its accuracy begins at {low:.2f}, and "
            f"that one has {baseline:.2f}; it needs more images, or more epochs"
        )


def say_default(name: str, before: str) -> None:
    """Warn if requests without ``model=`` now get another model."""
    say(
        f"warning: {name!r} is now the first model by name: a service uses it for requests without model=, no longer "
        f"{before!r}; to keep {before!r}, start the service with MULTIPOOL_DEFAULT_MODEL={before}"
    )


def say_speed(reduced: Reduced) -> None:
    """Warn if a smaller precision is slower."""
    if reduced.speed < 1:
        advice = "; float16 is for GPUs" if reduced.precision == "float16" else ""
        say(
            f"warning: on this CPU, {reduced.precision} is slower than float32, {reduced.speed:g} times as fast in "
            f"batches{advice}"
        )


def say_held_out(images: int) -> None:
    """Say how much familiarity and drift can show if there are only few validation images."""
    if 0 < images < _FEW:
        least, by_chance = 1 / (images + 1), chance(images, WINDOW)
        told = f"of up to {by_chance:.2f} may be chance" if by_chance < 1 - least else "cannot be told from chance"
        say(
            f"note: with {counted(images, 'validation image')}, familiarity is never below {least:.2g}, and feature "
            f"drift {told}; with {_FEW} images, the limits are {1 / (_FEW + 1):.2g} and {chance(_FEW, WINDOW):.2f}. A "
            "model that has learned from few images may find images of other kinds familiar, too"
        )
