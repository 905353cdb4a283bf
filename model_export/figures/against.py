"""Two models on the same images: how the one that is measured does against another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from model_export.console.numbers import counted
from model_export.console.progress import say
from model_export.data import sources
from model_export.errors import BadData
from model_export.figures import matching
from model_export.figures.paired import Paired, p_value
from model_export.figures.seen import SEEN, UNKNOWN, equally_new, learned_from, least

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from app.model import Model
    from model_export.figures.evaluation import Measured
    from model_export.figures.matching import Matched

_CLEAR = 0.05
"""How often chance alone may look like a difference."""
_FEWEST = 6
"""With only five images or groups, chance alone makes one model better in all of them in 2 of 2**5 cases, more than
5 %."""
_MOST_CLASSES = 3


@dataclass(frozen=True)
class Opponent:
    """The other model."""

    names: tuple[str, str]
    """How to call the measured model, and this one."""
    path: Path
    model: Model

    def load(self, data: str, measured: Model, first: Matched) -> Matched:
        """Load a data set for this model too, without the images that only one of the models can read.

        It is split as in the training of the measured model, or else of this one, if it is the data set of either.

        Args:
            data: As on the command line.
            measured: The measured model.
            first: What was loaded of it for that model; to be split as the result.

        Raises:
            BadData: It has classes that one model does not know, or a split without an image that both can read.
        """
        if _input(self.model) == _input(measured):  # decoding again would give the same, and take as much memory
            second = matching.match(self.model, first.dataset)
        else:
            second = self._decoded(data, first)
        for model, matched, name in zip((measured, self.model), (first, second), self.names, strict=True):
            matching.positions(model, matched, name)
        if apart := len({*first.names()} ^ {*second.names()}):
            say(f"note: {counted(apart, 'image')} that only one of the two models can read will be left out")
        return second.split_as(first.split_as(second) if second.known and not first.known else first)

    def _decoded(self, data: str, first: Matched) -> Matched:
        try:
            return matching.load(self.model, data, first.dataset.labels if sources.numbered(data) else None)
        except BadData as error:  # it says what the model reads, so say which one
            raise BadData(f"{self.names[1]}: {error}") from None


def _input(model: Model) -> tuple[Any, ...]:
    return model.shape, model.metadata.recipe.value_range


@dataclass(frozen=True)
class Against:
    """How two models do on the same images."""

    opponent: Opponent
    first: Measured
    second: Measured

    @cached_property
    def pairs(self) -> dict[str, Paired]:
        """The answers of both for each image, per split."""
        return {
            split: Paired(answers.correct(), self.second.answers[split].correct(), answers.groups)
            for split, answers in self.first.answers.items()
        }

    def equally_new(self, split: str) -> NDArray[np.bool_]:
        """Find the images of a split on which the models are compared fairly, ``[N]``."""
        return equally_new(self.first.done[split], self.second.done[split])

    def classes(self, split: str, chosen: NDArray[np.bool_] | None = None) -> dict[str, tuple[int, int]]:
        """Count, by class, the images that only the first model classifies correctly, and only the other one.

        Of all images of the split, or of those that are chosen, ``[N]``.
        """
        answers, pair = self.first.answers[split], self.pairs[split]
        chosen = np.ones(len(answers), bool) if chosen is None else chosen
        of_class = {label: chosen & (answers.targets == index) for index, label in enumerate(answers.labels)}
        return {label: pair.of(own).only() for label, own in of_class.items()}

    def document(self) -> dict[str, Any]:
        """Convert the figures to JSON values."""
        splits = {
            split: {
                **pair.document(),
                "seen_in_training": self.second.seen[split],
                "equally_new": pair.of(fair).document() if (fair := self.equally_new(split)).any() else None,
                "classes": {
                    label: {"only_right": first, "only_right_against": second}
                    for label, (first, second) in self.classes(split).items()
                },
            }
            for split, pair in self.pairs.items()
        }
        return {"file": str(self.opponent.path), "sha256": self.opponent.model.sha256, "splits": splits}


def lines(found: Against) -> Iterator[Table | str]:
    """Describe the difference: a table of the splits; for the last one, what it means and where it lies."""
    names = first, second = found.opponent.names
    pairs = found.pairs
    measured = found.first, found.second
    yield _table(names, pairs, {split for split in pairs if any(learned_from(each.seen[split]) for each in measured)})
    split, whole = least(pairs)
    seen = [each.seen[split] for each in measured]
    fair = found.equally_new(split)
    judged = fair.all() or fair.sum() >= _FEWEST
    chosen = fair if judged else np.ones_like(fair)
    pair = whole.of(chosen)
    gained, lost = pair.only()
    which = "" if chosen.all() else f", of the {chosen.sum():,} of all {len(chosen):,} that are equally new to both"
    unless = ", if neither has learned from these images" if UNKNOWN in seen else ""
    verdict = f"{_verdict(pair, names)}{unless}" if judged else _unjudged(found, split, int(fair.sum()))
    yield (
        f"{split}: only {first} is right on {counted(gained, 'image')}, only {second} on {lost:,}{which}"
        f"{_by_group(pair, names)}; {verdict}"
    )
    if different := _most_different(found.classes(split, chosen)):
        yield f"where they differ most (only {first}, only {second}): {different}"
    unfair = "" if seen[0] == seen[1] else ". On images that it has learned from, a model looks better than it is"
    yield f"images of {split} in training: {first} {seen[0]}; {second} {seen[1]}{unfair}"


def _table(names: tuple[str, str], pairs: dict[str, Paired], learned: set[str]) -> Table:
    columns = "split", "images", "accuracy", "against", "difference (95 %)"
    table = Table(*columns, title="{} against {}, on the same images".format(*names))
    for split, pair in pairs.items():
        difference = f"{pair.difference():+.4f}"
        if split not in learned:  # else its images are no random sample
            difference += " ({:+.3f} to {:+.3f})".format(*pair.interval())
        shares = (f"{each.mean():.4f}" for each in (pair.first, pair.second))
        table.add_row(split, f"{len(pair.first):,}", *shares, difference)
    return table


def _by_group(pair: Paired, names: tuple[str, str]) -> str:
    if not (found := pair.grouped()):
        return ""
    first, second = (f"{name} is better in" for name in names)
    return (
        f" (of {counted(found['groups'], 'group')}, {first} {found['groups_better']:,}, "
        f"{second} {found['groups_better_against']:,})"
    )


def _verdict(pair: Paired, names: tuple[str, str]) -> str:
    p, groups = pair.p(), pair.grouped().get("groups")
    test = p_value(p)
    test += ", exact McNemar test" if groups is None else ", exact sign-flip test of groups"
    if groups is not None and groups < _FEWEST:
        return f"{counted(groups, 'group is', 'groups are')} too few to tell; it takes {_FEWEST} ({test})"
    if p >= _CLEAR:
        return f"no clear difference ({test})"
    better, _ = names if pair.difference() > 0 else reversed(names)
    return f"{better} is clearly better ({test})"


def _unjudged(found: Against, split: str, fair: int) -> str:
    """Say why it cannot be told which model is better, if so few images of a split are equally new to both."""
    done = [each.done[split] for each in (found.first, found.second)]
    learned = [int((words == SEEN["train"]).sum()) for words in done]
    named = zip(found.opponent.names, learned, strict=True)
    why = "; ".join(f"{name} has learned from {count:,}" for name, count in named if count)
    return (
        f"which is better cannot be judged: of these {counted(len(done[0]), 'image')}, {fair} are equally new to both, "
        f"and it takes {_FEWEST}{why and f' ({why})'}"
    )


def _most_different(classes: dict[str, tuple[int, int]]) -> str:
    apart = {label: abs(first - second) for label, (first, second) in classes.items() if first != second}
    most = sorted(apart, key=lambda label: -apart[label])[:_MOST_CLASSES]
    return "; ".join("{} ({:,}, {:,})".format(label, *classes[label]) for label in most)
