"""ADE20K as cut for the scene parsing benchmark: 150 classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping

from segrun.data.sets.files import paired
from segrun.data.sets.public import Public, ending
from segrun.errors import RequestError
from segrun.types import VOID, ClassMap

FOLDERS = {"train": "training", "val": "validation"}


class ADE20K(Public):
    """SceneParse150 (Zhou et al., CVPR 2017): 20,210 images for train, 2,000 for val. Classes are named as in its
    objectInfo150.txt; 0 in the masks, "other", is void."""

    title = "ADE20K"
    holds = (
        "objectInfo150.txt", "images/training", "images/validation", "annotations/training", "annotations/validation",
    )  # fmt: skip
    below = ("ADEChallengeData2016",)
    had = "Unpack data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip."
    codes: Mapping[int, int] = {0: VOID, **{index + 1: index for index in range(150)}}

    def __init__(self, root: str | None) -> None:
        super().__init__(root)
        self.classes = self._classes()
        for split, folder in FOLDERS.items():
            places = self.root / "images" / folder, self.root / "annotations" / folder
            images, masks = ending(places[0], ".jpg"), ending(places[1], ".png")
            found = paired(images, masks, places, self.problems, "Unpack the archive anew.")
            self.take(split, {f"{split}/{name}": pair for name, pair in found.items()})
        self.notes.append("the masks of ADE20K's test are not public: its val chooses the epoch, and there is no test")

    def _classes(self) -> ClassMap:
        path = self.root / "objectInfo150.txt"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            names = {int(row["Idx"]): row["Name"].strip() for row in rows}
        except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError, TypeError) as error:
            raise RequestError(f"{path}: is not the official table with Idx and Name ({error}).") from error
        if sorted(names) != list(range(1, 151)) or len(set(names.values())) != 150:
            raise RequestError(f"{path}: is to name 150 classes, Idx 1 to 150; it names {len(set(names.values()))}.")
        return ClassMap.of([names[index] for index in sorted(names)])
