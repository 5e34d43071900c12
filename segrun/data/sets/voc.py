"""PASCAL VOC 2012, and the Semantic Boundaries Dataset that adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.images import mask_values
from segrun.data.sets.files import Pair
from segrun.data.sets.public import Public, lines
from segrun.errors import DataError, RequestError
from segrun.types import VOID, ClassMap

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VOC(Public):
    """PASCAL VOC 2012 (Everingham et al., IJCV 2010): 1,464 images for train, 1,449 for val; 255, on the objects'
    borders, is void."""

    title = "PASCAL VOC 2012"
    holds = (
        "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt", "JPEGImages", "SegmentationClass",
    )  # fmt: skip
    below = ("VOCdevkit/VOC2012", "VOC2012")
    host = "thor.robots.ox.ac.uk"
    had = f"dataset.download=true fetches it from {host}."
    classes = ClassMap.of(CLASSES)
    codes: Mapping[int, int] = {**{index: index for index in range(len(CLASSES))}, VOID: VOID}

    def __init__(self, root: str | None, download: bool) -> None:
        super().__init__(root, download)
        for split in ("train", "val"):
            names = [words[0] for words in lines(self.root / "ImageSets/Segmentation" / f"{split}.txt")]
            self.take(split, {name: self._pair(name) for name in names})
        self.notes.append("the masks of VOC's test are not public: its val chooses the epoch, and there is no test")

    def _pair(self, name: str) -> Pair:
        return self.root / "JPEGImages" / f"{name}.jpg", self.root / "SegmentationClass" / f"{name}.png"

    def fetch(self, top: Path) -> None:
        from torchvision.datasets import VOCSegmentation

        VOCSegmentation(str(top), year="2012", download=True)


class SBD(Public):
    """The Semantic Boundaries Dataset (Hariharan et al., ICCV 2011): 11,355 images of VOC 2011 in VOC's classes.

    voc: the root of VOC 2012. Then train is the usual `train_aug`, the 10,582 images of both without VOC's val, with
    VOC's own mask where there is one; and val is VOC's. None: SBD's own 8,498 for train and 2,857 for val.
    """

    title = "SBD"
    holds = ("img", "cls", "train.txt", "val.txt")
    below = ("benchmark_RELEASE/dataset",)
    host = "www2.eecs.berkeley.edu"
    had = f"dataset.download=true fetches it from {host}."
    classes = VOC.classes
    codes = VOC.codes

    def __init__(self, root: str | None, voc: str | None, download: bool) -> None:
        super().__init__(root, download)
        train, val = (self._listed(split) for split in ("train", "val"))
        if voc is None:
            self.take("train", train)
            self.take("val", val)
            self.notes.append(
                "SBD's train has images of VOC 2012's val: a model trained on it is not to be scored there; "
                "dataset.voc=<root of VOC 2012> leaves them out"
            )
            return
        try:
            base = VOC(voc, download)
        except RequestError as error:
            raise RequestError(str(error).replace("dataset.root", "dataset.voc")) from error
        self.problems += base.problems
        self.notes += base.notes
        own = {name: base.pairs[name] for name in base.splits["train"]}
        held = set(base.splits["val"])
        self.take("train", {name: pair for name, pair in sorted({**train, **val, **own}.items()) if name not in held})
        self.take("val", {name: base.pairs[name] for name in base.splits["val"]})

    def _listed(self, split: str) -> dict[str, Pair]:
        names = [words[0] for words in lines(self.root / f"{split}.txt")]
        return {name: (self.root / "img" / f"{name}.jpg", self.root / "cls" / f"{name}.mat") for name in names}

    def values(self, path: Path) -> NDArray[np.int64]:
        return label_file(path) if path.suffix == ".mat" else mask_values(path)

    def fetch(self, top: Path) -> None:
        from torchvision.datasets import SBDataset

        SBDataset(str(top), image_set="train", download=True)


def label_file(path: Path) -> NDArray[np.int64]:
    """(H, W) classes out of an SBD .mat file. Raises DataError where it is none."""
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path)["GTcls"]["Segmentation"][0, 0], dtype=np.int64)
    except Exception as error:  # bytes that are no MATLAB file raise what they will
        raise DataError(f"{path}: cannot be read as an SBD label ({error}). Unpack it anew.") from error
