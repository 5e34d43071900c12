"""The Semantic Boundaries Dataset, which adds masks to images of PASCAL VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segrun.data.sets.files import Pair
from segrun.data.sets.public import PublishedDataset, read_words
from segrun.data.sets.voc import VOC
from segrun.errors import RequestError, UnreadableError


class SBD(PublishedDataset):
    """SBD (Hariharan et al., ICCV 2011): 11,355 images of VOC 2011 in the classes of VOC.

    With VOC 2012, train is the usual `train_aug`: the 10,582 images of both without the val of VOC, with the masks of
    VOC where they exist; val is that of VOC. Alone, SBD has its own 8,498 images for train and 2,857 for val.

    Args:
        root: Holds img/ cls/ train.txt val.txt, or benchmark_RELEASE/dataset/ with them.
        voc: The root of VOC 2012; None for SBD alone.
        download: Fetch what is missing.

    Raises:
        RequestError: `root` or `voc` does not hold its data set, or it cannot be fetched.
    """

    title = "SBD"
    required = ("img", "cls", "train.txt", "val.txt")
    subfolders = ("benchmark_RELEASE/dataset",)
    host = "www2.eecs.berkeley.edu"
    source = f"dataset.download=true fetches it from {host}."
    classes = VOC.classes
    class_of_value = VOC.class_of_value

    def __init__(self, root: str | None, voc: str | None, download: bool) -> None:
        super().__init__(root, download)
        train, val = self._listed_pairs("train"), self._listed_pairs("val")
        if voc is not None:
            self._add_train_aug({**train, **val}, voc, download)
            return
        self.add_split("train", train)
        self.add_split("val", val)
        self.notes.append(
            "SBD's train has images of VOC 2012's val: do not score a model there that was trained on it; "
            "dataset.voc=<root of VOC 2012> leaves them out"
        )

    def _add_train_aug(self, sbd_pairs: dict[str, Pair], root: str, download: bool) -> None:
        try:
            voc = VOC(root, download)
        except RequestError as error:
            raise RequestError(str(error).replace("dataset.root", "dataset.voc")) from error
        self.problems.extend(voc.problems)
        self.notes.extend(voc.notes)
        voc_train = {name: voc.pairs[name] for name in voc.splits["train"]}
        voc_val = {name: voc.pairs[name] for name in voc.splits["val"]}
        both = {**sbd_pairs, **voc_train}
        self.add_split("train", {name: both[name] for name in sorted(both) if name not in voc_val})
        self.add_split("val", voc_val)

    def _listed_pairs(self, split: str) -> dict[str, Pair]:
        names = [words[0] for words in read_words(self.root / f"{split}.txt")]
        images, masks = self.root / "img", self.root / "cls"
        return {name: (images / f"{name}.jpg", masks / f"{name}.mat") for name in names}

    def read_values(self, path: Path) -> NDArray[np.int64]:
        return read_mat_labels(path) if path.suffix == ".mat" else super().read_values(path)

    def fetch(self, top: Path) -> None:
        from torchvision.datasets import SBDataset

        SBDataset(str(top), image_set="train", download=True)


def read_mat_labels(path: Path) -> NDArray[np.int64]:
    """(H, W) classes of a .mat file of SBD.

    Raises:
        DataError: It is not one.
    """
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path)["GTcls"]["Segmentation"][0, 0], dtype=np.int64)
    except Exception as error:  # scipy raises any exception for bytes that are not a MATLAB file
        raise UnreadableError(f"{path}: cannot be read as an SBD label ({error}). Unpack the archive again.") from error
