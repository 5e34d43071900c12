"""Cityscapes: streets of 50 towns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from torchvision.datasets import Cityscapes as TorchvisionCityscapes

from segrun.data.sets.files import FileReport, add_prefix, pair_files
from segrun.data.sets.public import PublishedDataset, list_by_ending
from segrun.types import VOID, ClassMap

LABELS = TorchvisionCityscapes.classes
SCORED_LABELS = sorted((label for label in LABELS if not label.ignore_in_eval), key=lambda label: label.train_id)


class Cityscapes(PublishedDataset):
    """The fine annotations (Cordts et al., CVPR 2016): 2,975 images for train, 500 for val, 19 classes.

    The masks are read from the `labelIds` files by the official table. Ids that are not scored are void.

    Args:
        root: Holds leftImg8bit/ and gtFine/.

    Raises:
        RequestError: `root` does not hold it.
    """

    title = "Cityscapes"
    required = ("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val")
    source = (
        "It is free after a login at www.cityscapes-dataset.com: unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip in one folder."
    )
    classes = ClassMap.of({label.name: label.color for label in SCORED_LABELS})
    # the id -1 (licence plate) is 255 in a file of bytes
    class_of_value: Mapping[int, int] = {
        label.id % 256: VOID if label.ignore_in_eval else label.train_id for label in LABELS
    }

    def __init__(self, root: str | None) -> None:
        super().__init__(root)
        report = FileReport(self.notes, self.problems)
        for split in ("train", "val"):
            folders = self.root / "leftImg8bit" / split, self.root / "gtFine" / split
            images = list_by_ending(folders[0], "_leftImg8bit.png")
            masks = list_by_ending(folders[1], "_gtFine_labelIds.png")
            pairs = pair_files(images, masks, folders, report, cure="Unpack the archives again.")
            self.add_split(split, add_prefix(split, pairs))
        self.notes.append("the masks of Cityscapes' test are dummies: its val chooses the epoch, and there is no test")

    def group(self, name: str) -> str:
        """The town: its images were taken one after another."""
        return str(PurePosixPath(name).parent)
