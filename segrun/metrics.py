"""Segmentation scores: integer counts first, ratios last.

Pixel counts are exact and add up over images, batches and processes. Ratios are taken once, of the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segrun.types import VOID


def confusion(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """The confusion matrix of one mask. Void pixels of the truth are left out.

    Args:
        prediction: (H, W) class indices.
        truth: (H, W) class indices, VOID where there is no label.
        classes: Number of classes C.

    Returns:
        (C, C) pixel counts on the CPU, truth by row, prediction by column.
    """
    # imported here, since it takes as long as torch itself and `segrun plan` and others need no scores
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    matrix: Tensor = multiclass_confusion_matrix(
        prediction.long(), truth.long(), classes, ignore_index=VOID, validate_args=False
    )
    return matrix.cpu()


@dataclass(frozen=True)
class Scores:
    """Ratios of one confusion matrix that was summed over a whole split.

    A class that is in neither truth nor prediction has no score (NaN) and is left out of the means.

    Attributes:
        classes: The C class names.
        matrix: (C, C) pixel counts, truth by row, prediction by column.
        iou: (C,) intersection over union per class (Jaccard index).
        dice: (C,) Dice coefficient per class (F1).
        precision: (C,) share of the predicted pixels that are right.
        recall: (C,) share of the true pixels that are found.
    """

    classes: tuple[str, ...]
    matrix: Tensor
    iou: Tensor
    dice: Tensor
    precision: Tensor
    recall: Tensor

    @classmethod
    def of(cls, matrix: Tensor, classes: Sequence[str]) -> Scores:
        """Compute all ratios.

        Args:
            matrix: (C, C) pixel counts, truth by row, prediction by column.
            classes: The C class names.
        """
        counts = matrix.double()
        true_positives, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
        return cls(
            tuple(classes),
            matrix,
            iou=true_positives / (truth + predicted - true_positives),
            dice=2 * true_positives / (truth + predicted),
            precision=true_positives / predicted,
            recall=true_positives / truth,
        )

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that have one."""
        return _nan_mean(self.iou)

    @property
    def miou_present(self) -> float:
        """Mean IoU over the classes that occur in the truth."""
        return _nan_mean(self.iou[self.matrix.sum(1) > 0])

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right; NaN where no pixel is labelled."""
        labelled = self.matrix.sum()
        return float(self.matrix.diagonal().sum() / labelled) if labelled else math.nan

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """The classes that are in neither truth nor prediction."""
        return tuple(name for name, iou in zip(self.classes, self.iou, strict=True) if torch.isnan(iou))

    def summary(self) -> dict[str, object]:
        """The scores for result.json: numbers in [0, 1], null where there is none."""
        columns = {"iou": self.iou, "dice": self.dice, "precision": self.precision, "recall": self.recall}
        per_class = {}
        for index, name in enumerate(self.classes):
            per_class[name] = {key: _json_number(float(values[index])) for key, values in columns.items()}
        return {
            "miou": _json_number(self.miou),
            "miou_present": _json_number(self.miou_present),
            "mdice": _json_number(_nan_mean(self.dice)),
            "accuracy": _json_number(self.accuracy),
            "absent": list(self.absent_classes),
            "per_class": per_class,
            "confusion": self.matrix.tolist(),
        }


def _nan_mean(values: Tensor) -> float:
    values = values[~values.isnan()]
    return float(values.mean()) if len(values) else math.nan


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
