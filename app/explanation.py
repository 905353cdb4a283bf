"""Why an image got its logits: each branch's share, exact because nothing stands between the pools and the head.

For class ``c`` and branch ``b`` with pooled features ``v_b`` and the head's rows ``w_b`` for them, the contribution is
``v_b · w_b[:, c]``, and ``logit_c = bias_c + Σ_b contribution_b,c``. No sampling and no gradients are involved (Zhou et
al., "Learning Deep Features for Discriminative Localization", 2016; Lin, Chen and Yan 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KERNEL = "head_kernel"
BIAS = "head_bias"
"""Names of the graph outputs that carry the head; an artifact without them cannot be explained."""

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Head:
    """The dense layer from the concatenated pooled features to the logits.

    Attributes:
        kernel: ``float32 [features, classes]``, the rows of the branches one after the other.
        bias: ``float32 [classes]``.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def contributions(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute each branch's share of every logit of one image.

        Args:
            features: Per branch, in the model's order, ``float32 [width]``.

        Returns:
            ``float32 [branches, classes]``; with the bias they sum to the logits, to float32 precision.
        """
        edges = np.cumsum([len(vector) for vector in features])[:-1]
        blocks = np.split(self.kernel, edges)
        shares = [np.dot(vector, block) for vector, block in zip(features, blocks, strict=True)]
        return np.stack(shares)  # (branches, classes)

    def explains(self, features: Sequence[NDArray[np.float32]], logits: NDArray[np.float32]) -> bool:
        """Tell whether bias and contributions really sum to the logits of one image ``[classes]``."""
        pooled = np.concatenate(features)
        if self.kernel.shape != (len(pooled), len(logits)) or self.bias.shape != logits.shape:
            return False
        # What float32 may lose grows with the sizes of the terms, not with their sum, in which they may cancel out.
        scale = 1 + np.abs(self.bias) + np.abs(pooled) @ np.abs(self.kernel)
        difference = np.abs(self.bias + self.contributions(features).sum(0) - logits)
        return bool((difference <= _TOLERANCE * scale).all())
