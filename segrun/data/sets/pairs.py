"""Data sets whose images and masks are files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.read.images import Exif, read_image
from segrun.data.read.palettes import read_mask
from segrun.data.sets.files import Pair


class ImageMaskPairs(Dataset):
    """One image file and one mask file for each name. A subclass sets `classes` and `pairs`.

    Attributes:
        pairs: Image file and mask file of each name.
        coding: How mask files state the class: "index", "colour" or "binary" (see `decode_mask`).
        ignore_index: The value in mask files that means "no label".
        exif: Whether image and mask are turned, each as its own EXIF orientation says.
    """

    pairs: dict[str, Pair]
    coding: str = "index"
    ignore_index: int = 255
    exif: Exif = "apply"

    @property
    def applies_orientation(self) -> bool:
        return self.exif == "apply"

    @property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        return tuple(self.pairs)

    def files(self, name: str) -> tuple[Path, ...]:
        return self.pairs[name]

    def image(self, name: str) -> Tensor:
        return read_image(self.pairs[name][0], self.channels, self.applies_orientation)

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return read_mask(path, self.classes, self.coding, self.ignore_index, self.applies_orientation)
