"""How a network is trained; imports nothing slow, as the command line has its defaults from here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Budget:
    """How a network is trained."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    patience: int = 10
    """Epochs without a better validation loss after which training stops."""
    augmentation: str = "photo"
    averaging: float = 0.99
    """Momentum of the exponential moving average of the weights that is validated and kept; 0 for none."""
    freeze_epochs: int = 0
    """Epochs in which the weights of a ``keras.applications`` trunk stay as they are."""
    class_weights: bool = False
    seed: int = 0
    keep: str = "best"
    """``best``: the weights with the lowest validation loss; ``last``: those of the last epoch, all of which run."""

    @classmethod
    def of(cls, arguments: argparse.Namespace, **changes: Any) -> Budget:
        """Read it from the command line."""
        given = {each.name: getattr(arguments, each.name) for each in fields(cls) if hasattr(arguments, each.name)}
        return cls(**{**given, **changes})
