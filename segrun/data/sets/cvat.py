"""CVAT's export "Segmentation mask 1.1": PASCAL VOC's folders with labels of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segrun.data.dataset import SPLITS
from segrun.data.read.images import decode_mask, mask_values, open_image
from segrun.data.sets.files import Pairs, existing, files_in, paired
from segrun.errors import DataError, RequestError, join_names
from segrun.types import VOID, ClassMap, Colour


class Cvat(Pairs):
    """`labelmap.txt` (a line `name:r,g,b:parts:actions` a label), `JPEGImages/` and `SegmentationClass/`, whose PNGs
    show the labels' colours, or hold their places in labelmap.txt as grey values. Classes are in its order.

    The lists in `ImageSets/Segmentation/` name the images, and train.txt, val.txt and test.txt the split: CVAT lists
    those that are annotated. Without lists, every image is to have a mask.

    void: labels whose pixels have no label.

    Raises:
        RequestError: folders that are missing, or unknown labels in `void`.
        DataError: a labelmap.txt that cannot be understood, or no pair at all.
    """

    def __init__(self, root: str | None, void: Sequence[str]) -> None:
        self.root = existing(root)
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.map = read_labelmap(self.root / "labelmap.txt")
        if unknown := [name for name in void if name not in self.map.names]:
            raise RequestError(f"dataset.void: {join_names(unknown)}: labelmap.txt has {join_names(self.map.names, 24)}.")
        kept = [index for index, name in enumerate(self.map.names) if name not in void]
        names, palette = self.map.names, self.map.palette
        self.classes = ClassMap(tuple(names[index] for index in kept), tuple(palette[index] for index in kept))
        self.table = np.full(VOID + 1, VOID, np.uint8)
        self.table[kept] = np.arange(len(kept))
        self._pair()

    def _pair(self) -> None:
        place = (self.root / "JPEGImages", self.root / "SegmentationClass")
        if not place[0].is_dir():
            raise RequestError(f"{place[0]}: there is no such folder. Export with images, or put them there.")
        images, masks = (files_in(folder, self.notes, self.problems) for folder in place)
        sets = {file.stem: read_list(file) for file in sorted((self.root / "ImageSets/Segmentation").glob("*.txt"))}
        wanted = {name for names in sets.values() for name in names}
        if sets:
            for found, what in ((images, "images"), (masks, "masks")):
                if other := len(found.keys() - wanted):
                    self.notes.append(f"left out: {other} {what} that no list in ImageSets/Segmentation names")
            if lost := sorted(wanted - (images.keys() | masks.keys())):
                self.problems.append(f"{self.root}: ImageSets/Segmentation names what is not there: {join_names(lost)}.")
            images, masks = ({n: path for n, path in found.items() if n in wanted} for found in (images, masks))
        self.pairs = paired(images, masks, place, self.problems, "Complete the pairs.")
        if not self.pairs:
            raise DataError(f"{self.root}: no pair of image and mask in JPEGImages/ and SegmentationClass/.")
        if extra := sorted(sets.keys() - {*SPLITS, "default"}) if sets.keys() & set(SPLITS) else []:
            self.notes.append(f"in no split: the images of {join_names(extra)} in ImageSets/Segmentation")
        self.splits = {s: tuple(n for n in sets[s] if n in self.pairs) for s in SPLITS if s in sets}

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        image = open_image(path)
        coding = "index" if image.mode in ("L", "1") else "colour"
        values = mask_values(path) if coding == "index" else np.asarray(image.convert("RGB"), np.int64)
        return torch.from_numpy(self.table[decode_mask(values, path, self.map, coding, VOID).numpy()])


def read_labelmap(file: Path) -> ClassMap:
    """Raises DataError with the line that cannot be understood; RequestError where there is no file."""
    names: list[str] = []
    colours: list[Colour] = []
    for number, line in enumerate(lines(file), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        values = rest.partition(":")[0].split(",")
        if len(values) != 3 or not all(v.strip().isdecimal() and int(v) < 256 for v in values):
            raise DataError(f"{file}:{number}: {line}: is to be name:red,green,blue:parts:actions.")
        colour = (int(values[0]), int(values[1]), int(values[2]))
        if name in names or colour in colours:
            raise DataError(f"{file}:{number}: {line}: the name or the colour is that of a label above.")
        names.append(name)
        colours.append(colour)
    if not 2 <= len(names) <= VOID:
        raise DataError(f"{file}: {len(names)} labels; 2 to {VOID} are possible.")
    return ClassMap(tuple(names), tuple(colours))


def read_list(file: Path) -> list[str]:
    return [line.strip().strip('"') for line in lines(file) if line.strip()]


def lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise RequestError(f'{file}: {error.strerror}; CVAT\'s "Segmentation mask 1.1" has it.') from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is no UTF-8 text ({error.reason}).") from error
