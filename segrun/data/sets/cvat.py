"""CVAT's export "Segmentation mask 1.1": PASCAL VOC's folders with the user's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segrun.data.dataset import SPLITS
from segrun.data.read.masks import decode_mask, open_mask, read_mask_values
from segrun.data.sets.files import FileReport, Pair, dataset_root, list_files, pair_files
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.errors import DataError, RequestError, brief, join_names
from segrun.types import VOID, ClassMap, Colour

LISTS = "ImageSets/Segmentation"


class Cvat(ImageMaskPairs):
    """`labelmap.txt`, `JPEGImages/` and `SegmentationClass/`.

    `labelmap.txt` has a line `name:r,g,b:parts:actions` for each label; classes are in its order. The PNGs in
    `SegmentationClass/` show the labels' colours, or hold as grey values their positions in labelmap.txt.

    The lists in `ImageSets/Segmentation/` name the images, and train.txt, val.txt and test.txt are the split: CVAT
    lists the annotated images. Without lists, every image needs a mask.

    Args:
        root: The unpacked export.
        void: Labels that mean "no label".

    Raises:
        RequestError: Folders are missing, or `void` names unknown labels.
        DataError: labelmap.txt cannot be understood, or there is no pair at all.
    """

    def __init__(self, root: str | None, void: Sequence[str]) -> None:
        self.root = dataset_root(root)
        self.label_map = read_labelmap(self.root / "labelmap.txt")
        unknown = [name for name in void if name not in self.label_map.names]
        if unknown:
            raise RequestError(
                f"dataset.void: {join_names(unknown)}: labelmap.txt has {join_names(self.label_map.names, 24)}. "
                "Choose some of these."
            )
        kept = [index for index, name in enumerate(self.label_map.names) if name not in void]
        self.classes = ClassMap(
            tuple(self.label_map.names[index] for index in kept), tuple(self.label_map.palette[index] for index in kept)
        )
        self.class_of_label = np.full(VOID + 1, VOID, np.uint8)
        self.class_of_label[kept] = np.arange(len(kept))
        report = FileReport()
        lists = {file.stem: read_list(file) for file in sorted((self.root / LISTS).glob("*.txt"))}
        self.pairs = self._list_pairs(lists, report)
        self.splits = {split: tuple(n for n in lists[split] if n in self.pairs) for split in SPLITS if split in lists}
        extra_lists = sorted(lists.keys() - {*SPLITS, "default"})
        if self.splits and extra_lists:
            report.notes.append(f"in no split: the images of {join_names(extra_lists)} in {LISTS}")
        self.notes, self.problems = report.notes, report.problems

    def _list_pairs(self, lists: Mapping[str, Sequence[str]], report: FileReport) -> dict[str, Pair]:
        """The pairs that the lists name; all pairs where there are no lists."""
        folders = (self.root / "JPEGImages", self.root / "SegmentationClass")
        if not folders[0].is_dir():
            raise RequestError(f"{folders[0]}: there is no such folder. Export with images, or put them there.")
        images, masks = list_files(folders[0], report), list_files(folders[1], report)
        if lists:
            listed = {name for names in lists.values() for name in names}
            missing = sorted(listed - images.keys() - masks.keys())
            images = _keep_listed(images, listed, "images", report)
            masks = _keep_listed(masks, listed, "masks", report)
            if missing:
                report.problems.append(
                    f"{self.root}: {LISTS} names what is not there: {join_names(missing)}. "
                    "Restore these, or remove them from the lists."
                )
        pairs = pair_files(images, masks, folders, report)
        if not pairs:
            raise DataError(f"{self.root}: no pair of image and mask in JPEGImages/ and SegmentationClass/.")
        return pairs

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        image = open_mask(path)
        if image.mode in ("L", "1"):
            label_indices = decode_mask(read_mask_values(path), path, self.label_map, "index", VOID)
        else:
            colours = np.asarray(image.convert("RGB"), np.int64)
            label_indices = decode_mask(colours, path, self.label_map, "colour", VOID)
        return torch.from_numpy(self.class_of_label[label_indices.numpy()])


def read_labelmap(file: Path) -> ClassMap:
    """The labels of a labelmap.txt with their colours.

    Raises:
        RequestError: There is no such file.
        DataError: A line cannot be understood, names or colours are not distinct, or there are fewer than 2 or more
            than 255 labels.
    """
    names: list[str] = []
    colours: list[Colour] = []
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        colour = _parse_colour(rest.partition(":")[0])
        if colour is None:
            raise DataError(f"{file}:{number}: {brief(line)}: must be name:red,green,blue:parts:actions.")
        if name in names or colour in colours:
            raise DataError(
                f"{file}:{number}: {brief(line)}: an earlier label has the same name or colour. Give each its own."
            )
        names.append(name)
        colours.append(colour)
    if not 2 <= len(names) <= VOID:
        raise DataError(f"{file}: {len(names)} labels. There must be 2 to {VOID}.")
    return ClassMap(tuple(names), tuple(colours))


def read_list(file: Path) -> list[str]:
    """The image names in a list of `ImageSets/Segmentation`, which CVAT quotes where they contain spaces."""
    return [line.strip().strip('"') for line in read_lines(file) if line.strip()]


def read_lines(file: Path) -> list[str]:
    """The lines of a text file of the export.

    Raises:
        RequestError: There is no such file.
        DataError: It is not UTF-8 text.
    """
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise RequestError(
            f'{file}: {error.strerror}. It is part of CVAT\'s export "Segmentation mask 1.1".'
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text ({error.reason}).") from error


def _parse_colour(text: str) -> Colour | None:
    """`red,green,blue`; None if these are not three bytes."""
    words = text.split(",")
    if len(words) != 3 or not all(word.strip().isdecimal() and int(word) < 256 for word in words):
        return None
    red, green, blue = map(int, words)
    return red, green, blue


def _keep_listed(files: Mapping[str, Path], listed: set[str], kind: str, report: FileReport) -> dict[str, Path]:
    """The files that a list names. The number of others becomes a note."""
    unlisted = len(files.keys() - listed)
    if unlisted:
        report.notes.append(f"left out: {unlisted} {kind} that no list in {LISTS} names")
    return {name: path for name, path in files.items() if name in listed}
