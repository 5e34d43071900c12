"""One label for the whole image, from a table or from the data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from segrun.csv_tables import by_image, row_of
from segrun.errors import RequestError, join_names
from segrun.models.backbones.backbone import Level
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads import PooledHead
from segrun.tasks.losses import CrossEntropy
from segrun.types import VOID, Sample


class ImageLabels(Auxiliary):
    """The labels of a CSV file (UTF-8) whose header names the columns `image` and `label`; others are not read.
    Without a file, those that the data set brings.

    An image is named as in the data set, or by its last part alone, with or without the suffix of an image file.
    classes: the labels, sorted. Images without a row have no target. Cross-entropy on the pooled deepest map.
    Target: () uint8.

    Raises:
        RequestError: a file or row that cannot be read (with its line), two labels for one image, fewer than 2
            or more than 255 labels, or no labels at all.
    """

    name = "image_labels"

    def __init__(self, weight: float, file: str | None, dropout: float, label_smoothing: float) -> None:
        super().__init__(weight, CrossEntropy(label_smoothing=label_smoothing))
        self.file, self.dropout, self.label_smoothing = file, dropout, label_smoothing
        self.demand("dropout", 0 <= dropout < 1, "0 or more, below 1")
        self.demand("label_smoothing", 0 <= label_smoothing < 1, "0 or more, below 1")
        self.source = file or "the data set's labels"
        if file is not None:
            self._take(by_image(Path(file).expanduser(), "label", "auxiliary.image_labels.file"))

    def meet(self, labels: Mapping[str, str]) -> None:
        if self.file is None and not labels:
            raise RequestError("auxiliary.image_labels.file has no value, and this data set brings no labels.")
        if self.file is None:
            self._take(labels)

    def _take(self, labels: Mapping[str, str]) -> None:
        self.labels, self.classes = labels, tuple(sorted(set(labels.values())))
        if not 2 <= len(self.classes) <= VOID:
            raise RequestError(f"{self.source}: {len(self.classes)} different labels; there are to be 2 to {VOID}.")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return PooledHead(levels, len(self.classes), self.dropout)

    def target(self, sample: Sample, classes: int) -> Tensor:
        row = row_of(sample.name, self.labels)
        label = VOID if row is None else self.classes.index(self.labels[row])
        return torch.tensor(label, dtype=torch.uint8)

    def check_names(self, names: Sequence[str]) -> None:
        """Raises RequestError where no row names a training image, or one row names several."""
        rows = Counter(row for name in names if (row := row_of(name, self.labels)) is not None)
        if not rows:
            raise RequestError(
                f"{self.source}: none of its {len(self.labels)} images is one of the {len(names)} training images. "
                f"It names {join_names(self.labels, 2)}; they are {join_names(names, 2)}."
            )
        if several := [row for row, count in rows.items() if count > 1]:
            raise RequestError(
                f"{self.source}: {join_names(several)}: several training images are called so. Name their folders."
            )
