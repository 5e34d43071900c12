"""IoU from counted pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]  # (images, classes, 3): true positives, false positives and false negatives of one run
Floats = NDArray[np.floating[Any]]


def class_ious(counts: NDArray[np.generic]) -> Floats:
    """IoU per class.

    Args:
        counts: (…, 3) summed true positives, false positives and false negatives.

    Returns:
        (…) IoU. NaN where a class occurs neither in the truth nor in the predictions, as in `metrics.Scores`.
    """
    return _divide(np.asarray(counts[..., 0], np.float64), counts.sum(-1))


def mean_iou(counts: NDArray[np.generic]) -> Floats:
    """Mean IoU over the classes that have one.

    Args:
        counts: (…, classes, 3) summed true positives, false positives and false negatives.

    Returns:
        (…) mean IoU. NaN where no class has an IoU.
    """
    return mean_of_ratios(np.asarray(counts[..., 0], np.float64), counts.sum(-1), -1)


def mean_of_ratios(intersection: Floats, union: Floats, class_axis: int) -> Floats:
    """Mean of intersection / union along `class_axis`, over the classes whose union is not empty."""
    present = union > 0
    ious = np.divide(intersection, union, out=np.zeros_like(intersection), where=present)
    return _divide(ious.sum(class_axis), present.sum(class_axis))


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """The ratio, NaN where the denominator is 0."""
    return np.asarray(np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0))
