"""Auxiliary task: one label per image, from a table or from the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from segrun.csv_tables import find_row, read_column
from segrun.errors import RequestError, join_names
from segrun.models.backbones.backbone import Level
from segrun.ranges import FractionBelowOne, NonNegativeFloat
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.pooled import PooledHead
from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.types import VOID, Sample


class ImageLabels(Auxiliary):
    """The labels of a CSV file (UTF-8) with the columns `image` and `label`, or those that the dataset brings.

    An image is named as in the dataset, or by the last part of its name alone, with or without the suffix of an image
    file. Images without a row have no target. Other columns are not read. Cross-entropy on the pooled deepest map.
    Target: () uint8, an index into the sorted labels.

    Args:
        weight: See `Auxiliary`.
        file: The CSV file; None for the labels of the dataset.
        dropout: Of the head.
        label_smoothing: See `CrossEntropy`.
        image_labels: Labels that the primary dataset brings, by image name.

    Raises:
        RequestError: A file or row that cannot be read (with its line), two labels for one image, fewer than 2 or more
            than 255 labels, or no labels.
    """

    name = "image_labels"

    def __init__(
        self,
        weight: NonNegativeFloat,
        file: str | None,
        dropout: FractionBelowOne,
        label_smoothing: FractionBelowOne,
        image_labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(weight, CrossEntropy(label_smoothing=label_smoothing))
        self.dropout = dropout
        self.source = file or "the dataset's image labels"
        self.labels = _read(file) if file is not None else dict(image_labels or {})
        if not self.labels and file is None:
            raise RequestError(
                "auxiliary.image_labels.file=null: this dataset brings no image labels. "
                "Give a CSV file with the columns image and label."
            )
        self.classes = tuple(sorted(set(self.labels.values())))
        if not 2 <= len(self.classes) <= VOID:
            raise RequestError(
                f"{self.source}: {len(self.classes)} different labels; there must be 2 to {VOID}. Correct the labels, "
                "or leave image_labels out of auxiliary=[…]."
            )

    def head(self, levels: Sequence[Level], classes: int) -> PooledHead:
        return PooledHead(levels, len(self.classes), self.dropout)

    def target(self, sample: Sample, classes: int) -> Tensor:
        row = find_row(sample.name, self.labels)
        label = VOID if row is None else self.classes.index(self.labels[row])
        return torch.tensor(label, dtype=torch.uint8)

    def check_names(self, names: Sequence[str]) -> None:
        """See `Auxiliary.check_names`.

        Raises:
            RequestError: No row names a training image, or one row names several.
        """
        rows = [find_row(name, self.labels) for name in names]
        uses = Counter(row for row in rows if row is not None)
        if not uses:
            raise RequestError(
                f"{self.source}: none of its {len(self.labels)} images is one of the {len(names)} training images. "
                f"It names {join_names(self.labels, 2)}; they are {join_names(names, 2)}."
            )
        ambiguous = [row for row, count in uses.items() if count > 1]
        if ambiguous:
            raise RequestError(
                f"{self.source}: {join_names(ambiguous)}: several training images have this name. Add their folders."
            )


def _read(file: str) -> dict[str, str]:
    return read_column(Path(file).expanduser(), "label", "auxiliary.image_labels.file")
