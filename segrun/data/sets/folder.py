"""Data sets of image and mask files: one's own folder, and CamVid in SegNet's layout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segrun.data.dataset import SPLITS
from segrun.data.read.images import MODES, mask_values
from segrun.data.sets.classes import distinct, read_classes
from segrun.data.sets.files import Pairs, existing, files_in, paired, unpaired
from segrun.errors import DataError, RequestError
from segrun.types import ClassMap

WANTS = "images/ and masks/ (or CamVid's)"


class Folder(Pairs):
    """`root/images` + `root/masks`, pairs by their path without suffix, in any mix of formats Pillow reads.

    Or `root/train|val|test/{images,masks}`: then that is the split.
    channels: the images are read as grey (1), RGB (3) or RGBA (4).
    masks: "index", "colour", "binary" (0/255) or "auto". Overlapping labels are not supported: one mask
    holds one class a pixel.

    Raises:
        RequestError: root or classes are missing or contradict each other.
        DataError: no pair at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        masks: str,
        ignore_index: int,
        allow_unpaired: bool,
        channels: int = 3,
    ) -> None:
        if channels not in MODES:
            raise RequestError(f"dataset.channels={channels}: choose 1 (grey), 3 (RGB) or 4 (RGBA).")
        self.channels = channels
        self.root = existing(root)
        self.classes = read_classes(self.root, classes)
        self.ignore_index = ignore_index
        self.notes: list[str] = []
        self.problems: list[str] = []
        there = [s for s in SPLITS if (self.root / s / "images").is_dir()]
        places = {s: (self.root / s / "images", self.root / s / "masks") for s in there}
        self.pairs = {}
        for prefix, place in (places or {"": (self.root / "images", self.root / "masks")}).items():
            images, masks_ = (files_in(folder, self.notes, self.problems, wants=WANTS) for folder in place)
            found = paired(images, masks_, place, *unpaired(self.notes, self.problems, allow_unpaired))
            self.pairs.update({f"{prefix}/{name}" if prefix else name: pair for name, pair in found.items()})
        if not self.pairs:
            raise DataError(f"{self.root}: no pair of image and mask (same name, any suffix) in images/ and masks/.")
        self.splits = self.within(there)
        self.coding = self._coding(masks)
        if self.coding == "index":
            distinct(self.classes, ignore_index)

    def _coding(self, masks: str) -> str:
        if masks not in ("auto", "index", "colour", "binary"):
            raise RequestError(f"dataset.masks={masks}: choose auto, index, colour or binary.")
        if masks != "auto":
            return masks
        first = next(self._masks(), None)
        if first is not None and first.ndim == 3:
            coding = "colour"
        elif len(self.classes) == 2 and all(np.isin(mask, (0, 255)).all() for mask in self._masks()):
            coding = "binary"  # in a two-class set in which no pixel is 1, 255 can only be the second class
        else:
            coding = "index"
        self.notes.append(f"masks understood as {coding} (dataset.masks={coding} says so outright)")
        return coding

    def _masks(self) -> Iterator[NDArray[np.int64]]:
        for _, path in self.pairs.values():
            with contextlib.suppress(DataError):  # told with all others when the data are looked at
                yield mask_values(path)


class CamVid(Pairs):
    """CamVid as split by SegNet (Brostow et al., 2009; Badrinarayanan et al., PAMI 2017):
    train/ trainannot/ val/ valannot/ test/ testannot/, mask value = class index, 11 = void."""

    NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
    PALETTE = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip
    ignore_index = 11

    def __init__(self, root: str | None) -> None:
        self.root = existing(root)
        self.classes = ClassMap(self.NAMES, self.PALETTE)
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.pairs = {}
        there = [s for s in SPLITS if (self.root / s).is_dir()] or SPLITS
        for split in there:
            place = (self.root / split, self.root / f"{split}annot")
            images, masks = (files_in(folder, self.notes, self.problems, wants=WANTS) for folder in place)
            found = paired(images, masks, place, self.problems, "Complete the pairs.")
            self.pairs.update({f"{split}/{name}": pair for name, pair in found.items()})
        self.splits = self.within(there)
