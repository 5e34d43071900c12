"""ADE20K as cut for the scene parsing benchmark: 150 classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping

from segrun.data.sets.files import FileReport, add_prefix, pair_files
from segrun.data.sets.public import PublishedDataset, list_by_ending
from segrun.errors import RequestError
from segrun.types import VOID, ClassMap

FOLDERS = {"train": "training", "val": "validation"}
CLASS_COUNT = 150


class ADE20K(PublishedDataset):
    """SceneParse150 (Zhou et al., CVPR 2017): 20,210 images for train, 2,000 for val.

    Classes are named as in its objectInfo150.txt. The value 0 in masks, "other", is void.

    Args:
        root: Holds ADEChallengeData2016/, or is that folder.

    Raises:
        RequestError: `root` does not hold it, or objectInfo150.txt is not the official one.
    """

    title = "ADE20K"
    required = (
        "objectInfo150.txt", "images/training", "images/validation", "annotations/training", "annotations/validation",
    )  # fmt: skip
    subfolders = ("ADEChallengeData2016",)
    source = "Unpack data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip."
    class_of_value: Mapping[int, int] = {0: VOID, **{index + 1: index for index in range(CLASS_COUNT)}}

    def __init__(self, root: str | None) -> None:
        super().__init__(root)
        report = FileReport(self.notes, self.problems)
        self.classes = self._read_classes()
        for split, folder in FOLDERS.items():
            folders = self.root / "images" / folder, self.root / "annotations" / folder
            images, masks = list_by_ending(folders[0], ".jpg"), list_by_ending(folders[1], ".png")
            pairs = pair_files(images, masks, folders, report, cure="Unpack the archive again.")
            self.add_split(split, add_prefix(split, pairs))
        self.notes.append("the masks of ADE20K's test are not public: its val chooses the epoch, and there is no test")

    def _read_classes(self) -> ClassMap:
        path = self.root / "objectInfo150.txt"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            names = {int(row["Idx"]): row["Name"].strip() for row in rows}
        except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError, TypeError) as error:
            raise RequestError(f"{path}: is not the official table with Idx and Name ({error}).") from error
        if sorted(names) != list(range(1, CLASS_COUNT + 1)) or len(set(names.values())) != CLASS_COUNT:
            raise RequestError(
                f"{path}: must name 150 classes, Idx 1 to 150, but names {len(set(names.values()))}. "
                "Unpack the archive again."
            )
        return ClassMap.of([names[index] for index in sorted(names)])
