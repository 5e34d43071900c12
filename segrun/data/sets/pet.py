"""Oxford-IIIT Pet: cats and dogs, their outlines and breeds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segrun.data.sets.public import PublishedDataset, read_words
from segrun.types import VOID, ClassMap

LISTS = {"train": "trainval", "test": "test"}


class Pet(PublishedDataset):
    """Oxford-IIIT Pet (Parkhi et al., CVPR 2012): 3,680 images for train and val, 3,669 for test.

    Val is drawn from train. The 37 breeds are its `image_labels`.

    Args:
        root: Holds oxford-iiit-pet/, or is that folder.
        border: What the band around the animal counts as.
        download: Fetch what is missing.

    Raises:
        RequestError: `root` does not hold it, or it cannot be fetched.
    """

    title = "Oxford-IIIT Pet"
    required = ("images", "annotations/trimaps", "annotations/trainval.txt", "annotations/test.txt")
    subfolders = ("oxford-iiit-pet",)
    host = "www.robots.ox.ac.uk"
    source = f"dataset.download=true fetches it from {host}."
    classes = ClassMap.of(("background", "pet"))

    def __init__(self, root: str | None, border: Literal["void", "pet"], download: bool) -> None:
        super().__init__(root, download)
        self.class_of_value = {1: 1, 2: 0, 3: VOID if border == "void" else 1}
        images, masks = self.root / "images", self.root / "annotations/trimaps"
        for split, file in LISTS.items():
            names = [words[0] for words in read_words(self.root / "annotations" / f"{file}.txt")]
            self.add_split(split, {name: (images / f"{name}.jpg", masks / f"{name}.png") for name in names})
        self.image_labels = {name: name.rpartition("_")[0] for name in self.pairs}  # american_bulldog_12

    def fetch(self, top: Path) -> None:
        from torchvision.datasets import OxfordIIITPet

        OxfordIIITPet(str(top), download=True)
