"""Oxford-IIIT Pet: cats and dogs, their outlines and breeds."""

from __future__ import annotations

from pathlib import Path

from segrun.data.sets.public import Public, lines
from segrun.errors import RequestError
from segrun.types import VOID, ClassMap

LISTS = {"train": "trainval", "test": "test"}


class Pet(Public):
    """Oxford-IIIT Pet (Parkhi et al., CVPR 2012): 3,680 images for training, of which val is drawn, and 3,669 for test;
    37 breeds, which are its `labels`.

    border: what the band around the animal counts as, void or pet.

    Raises:
        RequestError: another border.
    """

    title = "Oxford-IIIT Pet"
    holds = ("images", "annotations/trimaps", "annotations/trainval.txt", "annotations/test.txt")
    below = ("oxford-iiit-pet",)
    host = "www.robots.ox.ac.uk"
    had = f"dataset.download=true fetches it from {host}."
    classes = ClassMap.of(("background", "pet"))

    def __init__(self, root: str | None, border: str, download: bool) -> None:
        if border not in ("void", "pet"):
            raise RequestError(f"dataset.border={border}: choose void or pet.")
        super().__init__(root, download)
        self.codes = {1: 1, 2: 0, 3: VOID if border == "void" else 1}
        images, masks = self.root / "images", self.root / "annotations/trimaps"
        for split, file in LISTS.items():
            names = [words[0] for words in lines(self.root / "annotations" / f"{file}.txt")]
            self.take(split, {name: (images / f"{name}.jpg", masks / f"{name}.png") for name in names})
        self.labels = {name: name.rpartition("_")[0] for name in self.pairs}  # american_bulldog_12

    def fetch(self, top: Path) -> None:
        from torchvision.datasets import OxfordIIITPet

        OxfordIIITPet(str(top), download=True)
