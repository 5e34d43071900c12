"""Scores: counts first, ratios last. Counts are exact integers and add up over images, batches and
processes; ratios are taken once, of the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segrun.types import VOID


def confusion(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(C, C) pixel counts, truth by row, prediction by column; void pixels of the truth are left out.

    prediction, truth: (H, W) class indices at the mask's own size.
    """
    # here, since it imports as long as torch itself: `segrun plan` and the like need no scores
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    matrix: Tensor = multiclass_confusion_matrix(
        prediction.long(), truth.long(), classes, ignore_index=VOID, validate_args=False
    )
    return matrix.cpu()


@dataclass(frozen=True)
class Scores:
    """Ratios of one confusion matrix (C, C) that was summed over a whole split.

    A class absent from truth and prediction has no score (NaN) and is left out of the means;
    `miou_present` is the mean over the classes that the truth holds: what epochs are chosen by.
    """

    classes: tuple[str, ...]
    matrix: Tensor
    iou: Tensor
    dice: Tensor
    precision: Tensor
    recall: Tensor

    @classmethod
    def of(cls, matrix: Tensor, classes: Sequence[str]) -> Scores:
        counts = matrix.double()
        hit, truth, guess = counts.diagonal(), counts.sum(1), counts.sum(0)
        return cls(
            tuple(classes),
            matrix,
            iou=hit / (truth + guess - hit),
            dice=2 * hit / (truth + guess),
            precision=hit / guess,
            recall=hit / truth,
        )

    @property
    def miou(self) -> float:
        return _mean(self.iou)

    @property
    def miou_present(self) -> float:
        return _mean(self.iou[self.matrix.sum(1) > 0])

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right."""
        return float(self.matrix.diagonal().sum() / self.matrix.sum()) if self.matrix.sum() else float("nan")

    @property
    def class_absent(self) -> tuple[str, ...]:
        return tuple(name for name, value in zip(self.classes, self.iou, strict=True) if torch.isnan(value))

    def summary(self) -> dict[str, object]:
        """For result.json: numbers in 0…1, null where there is none."""
        columns = {"iou": self.iou, "dice": self.dice, "precision": self.precision, "recall": self.recall}
        return {
            "miou": _number(self.miou),
            "miou_present": _number(self.miou_present),
            "mdice": _number(_mean(self.dice)),
            "accuracy": _number(self.accuracy),
            "class_absent": list(self.absent),
            "per_class": {
                name: {key: _number(float(values[i])) for key, values in columns.items()}
                for i, name in enumerate(self.classes)
            },
            "confusion": self.matrix.tolist(),
        }


def _mean(values: Tensor) -> float:
    values = values[~values.isnan()]
    return float(values.mean()) if len(values) else float("nan")


def _number(value: float) -> float | None:
    return None if value != value else round(value, 6)
