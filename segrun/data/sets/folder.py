"""A user's own images and masks in folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.images import Exif
from segrun.data.read.masks import read_mask_values
from segrun.data.read.palettes import palette_coding
from segrun.data.sets.classes import Classes, IgnoreIndex, check_ignore_index, read_classes
from segrun.data.sets.files import (
    COMPLETE_OR_ALLOW,
    FileReport,
    Pair,
    add_prefix,
    dataset_root,
    list_pairs,
    split_folders,
)
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.errors import DataError

LAYOUT = "images/ and masks/, or train/, val/ and optionally test/ with both in each"
Coding = Literal["index", "colour", "binary"]


class Folder(ImageMaskPairs):
    """`root/images` and `root/masks`: pairs of the same path without suffix, in any formats that Pillow reads.

    With `root/train|val|test/{images,masks}`, these folders are the split. A mask holds one class per pixel;
    overlapping labels are not supported.

    Args:
        root: The folder.
        classes: Names in the order of their values, or names with colours; None for classes.yaml or classes.txt in
            `root`.
        masks: How masks state the class: by index, by the colours of `classes`, or as 0 and 255 (binary). With "auto",
            the masks decide. Colours of a palette are looked up in each file's own.
        ignore_index: The value in masks that means "no label".
        allow_unpaired: Leave out images without a mask and masks without an image, instead of refusing them.
        channels: Images are read as grey (1), RGB (3) or RGBA (4).
        exif: "apply": image and mask are turned, each as its own EXIF orientation says. "ignore": neither is, for masks
            that were drawn on the stored pixels.

    Raises:
        RequestError: `root`, its folders or the classes are missing, or `ignore_index` is a class.
        DataError: There is no pair at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Classes | None,
        masks: Literal["auto", "index", "colour", "binary"],
        ignore_index: IgnoreIndex,
        allow_unpaired: bool,
        channels: Literal[1, 3, 4] = 3,
        exif: Exif = "apply",
    ) -> None:
        self.root = dataset_root(root)
        self.classes = read_classes(self.root, classes)
        self.channels = channels
        self.ignore_index = ignore_index
        self.exif = exif
        report = FileReport()
        splits = split_folders(self.root, "images")
        self.pairs = self._list_pairs(splits, report, allow_unpaired)
        self.splits = self.splits_by_prefix(splits)
        if masks == "auto":
            self.coding = self._recognise_coding()
            self.guessed_index = self.coding == "index" and ignore_index == 255
            report.notes.append(f"masks understood as {self.coding} (dataset.masks={self.coding} makes this explicit)")
        else:
            self.coding = masks
        if self.coding == "index":
            check_ignore_index(self.classes, ignore_index)
        self.notes, self.problems = report.notes, report.problems

    def _list_pairs(self, splits: list[str], report: FileReport, allow_unpaired: bool) -> dict[str, Pair]:
        pairs: dict[str, Pair] = {}
        for split in splits or [""]:
            folder = self.root / split
            found = list_pairs(
                folder / "images",
                folder / "masks",
                report,
                layout=LAYOUT,
                allow_unpaired=allow_unpaired,
                cure=COMPLETE_OR_ALLOW,
            )
            pairs.update(add_prefix(split, found))
        if not pairs:
            raise DataError(f"{self.root}: no pair of image and mask (same name, any suffix) in images/ and masks/.")
        return pairs

    def _recognise_coding(self) -> Coding:
        first = next(self._readable_masks(), None)
        if (first is not None and first.ndim == 3) or self._palettes_hold_classes():
            return "colour"
        # with two classes and no pixel of 1, 255 can only be the second class
        if len(self.classes) == 2 and all(np.isin(mask, (0, 255)).all() for mask in self._readable_masks()):
            return "binary"
        return "index"

    def _palettes_hold_classes(self) -> bool:
        """Whether the masks have palettes with the colours that were given with the classes: see `palette_coding`."""
        if not self.classes.colours_given:
            return False
        for _, path in self.pairs.values():
            with contextlib.suppress(DataError):
                coding = palette_coding(path, self.classes, self.ignore_index)
                if coding is not None:
                    return coding == "colour"
        return False

    def _readable_masks(self) -> Iterator[NDArray[np.int64]]:
        """Masks that cannot be read are skipped: the scan reports them together with all others."""
        for _, path in self.pairs.values():
            with contextlib.suppress(DataError):
                yield read_mask_values(path)
