"""PASCAL VOC 2012."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segrun.data.sets.public import PublishedDataset, read_words
from segrun.types import VOID, ClassMap

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VOC(PublishedDataset):
    """PASCAL VOC 2012 (Everingham et al., IJCV 2010): 1,464 images for train, 1,449 for val.

    The value 255, on the borders of objects, is void.

    Args:
        root: Holds VOCdevkit/VOC2012/, or is that folder.
        download: Fetch what is missing.

    Raises:
        RequestError: `root` does not hold it, or it cannot be fetched.
    """

    title = "PASCAL VOC 2012"
    required = (
        "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt", "JPEGImages", "SegmentationClass",
    )  # fmt: skip
    subfolders = ("VOCdevkit/VOC2012", "VOC2012")
    host = "thor.robots.ox.ac.uk"
    source = f"dataset.download=true fetches it from {host}."
    classes = ClassMap.of(CLASSES)
    class_of_value: Mapping[int, int] = {**{index: index for index in range(len(CLASSES))}, VOID: VOID}

    def __init__(self, root: str | None, download: bool) -> None:
        super().__init__(root, download)
        images, masks = self.root / "JPEGImages", self.root / "SegmentationClass"
        for split in ("train", "val"):
            names = [words[0] for words in read_words(self.root / "ImageSets/Segmentation" / f"{split}.txt")]
            self.add_split(split, {name: (images / f"{name}.jpg", masks / f"{name}.png") for name in names})
        self.notes.append("the masks of VOC's test are not public: its val chooses the epoch, and there is no test")

    def fetch(self, top: Path) -> None:
        from torchvision.datasets import VOCSegmentation

        VOCSegmentation(str(top), year="2012", download=True)
