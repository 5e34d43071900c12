"""One label for the whole image, from a table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import torch
from PIL import Image
from torch import Tensor, nn

from segrun.errors import RequestError, listed
from segrun.models.backbone import Level
from segrun.tasks.auxiliary import Auxiliary
from segrun.tasks.heads import PooledHead
from segrun.tasks.losses import CrossEntropy
from segrun.types import VOID, Sample


class ImageLabels(Auxiliary):
    """The labels of a CSV file (UTF-8) whose header names the columns `image` and `label`; others are not read.

    An image is named as in the data set, or by its last part alone, with or without the suffix of an image file.
    classes: the labels, sorted. Images without a row have no target. Cross-entropy on the pooled deepest map.
    Target: () uint8.

    Raises:
        RequestError: a file or row that cannot be read (with its line), two labels for one image, fewer than 2
            or more than 255 labels.
    """

    name = "image_labels"

    def __init__(self, weight: float, file: str, dropout: float, label_smoothing: float) -> None:
        super().__init__(weight, CrossEntropy(label_smoothing=label_smoothing))
        self.file, self.dropout, self.label_smoothing = Path(file).expanduser(), dropout, label_smoothing
        self.demand("dropout", 0 <= dropout < 1, "0 or more, below 1")
        self.demand("label_smoothing", 0 <= label_smoothing < 1, "0 or more, below 1")
        self.labels: dict[str, str] = {}
        for line, image, label in _rows(self.file):
            if self.labels.setdefault(image, label) != label:
                raise RequestError(f"{self.file}:{line}: {image} is {label!r} here and {self.labels[image]!r} above.")
        self.classes = tuple(sorted(set(self.labels.values())))
        if not 2 <= len(self.classes) <= VOID:
            raise RequestError(f"{self.file}: {len(self.classes)} different labels; there are to be 2 to {VOID}.")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return PooledHead(levels, len(self.classes), self.dropout)

    def target(self, sample: Sample, classes: int) -> Tensor:
        row = self._row(sample.name)
        label = VOID if row is None else self.classes.index(self.labels[row])
        return torch.tensor(label, dtype=torch.uint8)

    def check_names(self, names: Sequence[str]) -> None:
        """Raises RequestError where no row names a training image, or one row names several."""
        rows = Counter(row for name in names if (row := self._row(name)) is not None)
        if not rows:
            raise RequestError(
                f"{self.file}: none of its {len(self.labels)} images is one of the {len(names)} training images. "
                f"It names {listed(self.labels, 2)}; they are {listed(names, 2)}."
            )
        if several := [row for row, count in rows.items() if count > 1]:
            raise RequestError(
                f"{self.file}: {listed(several)}: several training images are called so. Name their folders."
            )

    def _row(self, name: str) -> str | None:
        return next((row for row in (name, PurePosixPath(name).name) if row in self.labels), None)


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """(line, image without suffix, label) of each row."""
    suffixes = Image.registered_extensions()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True, skipinitialspace=True)
            if not {"image", "label"} <= set(rows.fieldnames or ()):
                raise RequestError(f"{file}:1: the header is to name the columns image and label: image,label")
            for row in rows:
                image, label = ((row[key] or "").strip() for key in ("image", "label"))
                if not image or not label or None in row:
                    wanted = f"{len(rows.fieldnames or ())} values, image and label among them"
                    raise RequestError(f"{file}:{rows.line_num}: is to hold {wanted}. Correct it or leave it out.")
                path = PurePosixPath(image)
                known = path.suffix.lower() in suffixes  # in `slide.2` nothing is a suffix
                yield rows.line_num, str(path.with_suffix("") if known else path), label
    except OSError as error:
        raise RequestError(f"auxiliary.image_labels.file={file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file}: is no UTF-8 text ({error.reason}). Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise RequestError(f"{file}:{rows.reader.line_num}: {error}. Correct the line.") from error
