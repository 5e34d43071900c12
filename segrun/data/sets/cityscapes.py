"""Cityscapes: streets of 50 towns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from torchvision.datasets import Cityscapes as Official

from segrun.data.sets.files import paired
from segrun.data.sets.public import Public, ending
from segrun.types import VOID, ClassMap

SCORED = sorted((c for c in Official.classes if not c.ignore_in_eval), key=lambda c: c.train_id)


class Cityscapes(Public):
    """The fine annotations (Cordts et al., CVPR 2016): 2,975 images for train, 500 for val, 19 classes. The masks are
    read from `labelIds` by the official table; the ids that are not scored are void."""

    title = "Cityscapes"
    holds = ("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val")
    had = (
        "It is free after a login at www.cityscapes-dataset.com: unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip in one folder."
    )
    classes = ClassMap.of({c.name: c.color for c in SCORED})
    # -1, the licence plate, is 255 in a file of bytes
    codes: Mapping[int, int] = {c.id % 256: VOID if c.ignore_in_eval else c.train_id for c in Official.classes}

    def __init__(self, root: str | None) -> None:
        super().__init__(root)
        for split in ("train", "val"):
            places = self.root / "leftImg8bit" / split, self.root / "gtFine" / split
            images, masks = ending(places[0], "_leftImg8bit.png"), ending(places[1], "_gtFine_labelIds.png")
            found = paired(images, masks, places, self.problems, "Unpack the archives anew.")
            self.take(split, {f"{split}/{name}": pair for name, pair in found.items()})
        self.notes.append("the masks of Cityscapes' test are dummies: its val chooses the epoch, and there is no test")

    def group(self, name: str) -> str:
        return str(PurePosixPath(name).parent)  # the town: its images follow one another
