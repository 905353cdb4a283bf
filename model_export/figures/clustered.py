"""What images that come in groups, such as all of one patient, tell about images of other groups.

Images of a group resemble each other. Counted as if each were of another patient, they make intervals too narrow and
differences too certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def effective_images(values: NDArray[np.number], groups: NDArray[np.intp]) -> float:
    """Compute how many images, each of another group, tell as much about a mean as these do.

    That is their number divided by the design effect of the correlation within groups (Kish, "Survey sampling", 1965),
    which is estimated by analysis of variance. Wilson's interval with that number is among the best for grouped images
    (Saha, Miller and Wang, "A comparison of some approximate confidence intervals for a single proportion for clustered
    binary outcome data", 2016). But a few groups that happen to be alike, such as those in which every image is right,
    say little about the correlation, and so do many groups beside one that has most of the images. So the estimate is
    averaged with the worst case, a correlation of 1, which gets the weight 1/k: k groups of equal size would tell as
    much as these. Images without company then count fully, and a single group counts like one image.

    Args:
        values: One per image, ``[N]``.
        groups: The number of each image's group, ``[N]``.
    """
    values = values.astype(np.float64)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    images, count = len(values), len(sizes)
    usual = (sizes**2).sum() / images  # size of the group of an average image
    correlation = 0.0
    if 1 < count < images:
        of_groups = (np.bincount(group, values) ** 2 / sizes).sum()
        between = (of_groups - values.sum() ** 2 / images) / (count - 1)
        within = ((values**2).sum() - of_groups) / (images - count)
        total = between + ((images - usual) / (count - 1) - 1) * within
        correlation = np.clip((between - within) / total, 0, 1) if total > 0 else 0.0
    as_many = images / usual  # groups of equal size
    cautious = ((as_many - 1) * correlation + 1) / as_many
    return float(images / (1 + (usual - 1) * cautious))


def effective_groups(counting: NDArray[np.bool_], groups: NDArray[np.intp]) -> float:
    """Compute how many groups, each with equally many of the images that count, tell as much as these do.

    A few groups that have most of those images are few, however many others there are (Carter, Schnepel and
    Steigerwald, "Asymptotic behavior of a t-test robust to cluster heterogeneity", 2017). It is 0 if no image counts.
    """
    counts = np.unique(groups[counting], return_counts=True)[1]
    return float(counts.sum() ** 2 / max(1, (counts**2).sum()))


def standard_error(values: NDArray[np.number], groups: NDArray[np.intp]) -> float:
    """Compute the standard error of a mean of images whose groups are independent of each other.

    It is cluster-robust (Liang and Zeger, "Longitudinal data analysis using generalized linear models", 1986).
    """
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, values - values.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(values))


def sign_flips(differences: NDArray[np.int64]) -> float:
    """Compute how often chance makes the sum of some differences, one per group, as far from 0 or farther.

    If two models are equally good, each difference could as well have the other sign, and groups are independent of
    each other. All choices of signs are counted, with the shift algorithm (Streitberg and Röhmel, "Exact distributions
    for permutation and rank tests", 1986), so the answer is exact for few groups, too. If every group is one image, it
    is that of the exact test of McNemar.
    """
    from scipy.stats import binom  # noqa: PLC0415  # slow to import

    sizes = np.sort(np.abs(differences))  # the small ones first, while there are few sums
    ones = int((sizes == 1).sum())
    chances, end = np.zeros(1 + sizes.sum()), 1 + ones  # of each sum of the differences that are positive
    chances[:end] = binom.pmf(np.arange(end), ones, 0.5)
    for size in sizes[sizes > 1]:
        chances[:end] /= 2
        chances[size : end + size] += chances[:end]
        end += size
    sums = np.arange(-len(chances) + 1, len(chances), 2)
    return min(1.0, float(chances[np.abs(sums) >= abs(differences.sum())].sum()))
