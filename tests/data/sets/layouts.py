"""Writes the published data sets' layouts, with a few pictures of known pixels. Each gives its root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (4, 5)
# objectInfo150.txt names them alike in the first word
ADE_CLASSES = ("wall", "building, edifice", *(f"thing{index}, thing" for index in range(3, 151)))


def filled(value: int, **pixels: int) -> np.ndarray:
    """(4, 5) of one value, but for pixels named by row and column: p13=5."""
    mask = np.full(SIZE, value, np.uint8)
    for place, other in pixels.items():
        mask[int(place[1]), int(place[2])] = other
    return mask


def put(path: Path, values: np.ndarray, palette: Sequence[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(values, np.uint8))
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path)


def picture(path: Path, value: int = 100) -> None:
    put(path, np.full((*SIZE, 3), value))


def lists(folder: Path, **names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in names.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def voc(root: str = "voc", train: Sequence[str] = ("a", "b"), val: Sequence[str] = ("c",)) -> Path:
    """Masks of a palette: background, a pixel of class 15, one of class 20, one of void."""
    base = Path(root) / "VOCdevkit" / "VOC2012"
    lists(base / "ImageSets" / "Segmentation", train=train, val=val)
    for name in (*train, *val, "unlisted"):
        picture(base / "JPEGImages" / f"{name}.jpg")
        put(
            base / "SegmentationClass" / f"{name}.png",
            filled(0, p00=15, p12=20, p34=255),
            [value % 256 for value in range(768)],
        )
    return Path(root)


def sbd(root: str = "sbd", train: Sequence[str] = ("a", "c", "d"), val: Sequence[str] = ("e",)) -> Path:
    """MATLAB structs as in cls/: background, and a pixel of class 7."""
    base = Path(root)
    lists(base, train=train, val=val)
    for name in (*train, *val):
        picture(base / "img" / f"{name}.jpg")
        struct(base / "cls" / f"{name}.mat", filled(0, p11=7))
    return base


def struct(path: Path, values: np.ndarray) -> None:
    """A mask as a file of SBD's cls/."""
    path.parent.mkdir(parents=True, exist_ok=True)
    present = np.setdiff1d(values, 0)[:, None].astype(np.uint8)
    parts = {"Segmentation": np.asarray(values, np.uint8), "CategoriesPresent": present}
    savemat(path, {"GTcls": parts}, do_compression=True)


def cityscapes(root: str = "cityscapes") -> Path:
    """One town each; in every mask the ids 0 to 19 from the left above."""
    for split, town in (("train", "aachen"), ("val", "ulm"), ("test", "bonn")):
        stem = f"{town}_000000_000019"
        picture(Path(root) / "leftImg8bit" / split / town / f"{stem}_leftImg8bit.png")
        labels = Path(root) / "gtFine" / split / town / f"{stem}_gtFine_labelIds.png"
        put(labels, np.arange(20).reshape(SIZE))
        picture(labels.with_name(f"{stem}_gtFine_color.png"))
    return Path(root)


def ade20k(root: str = "ade") -> Path:
    """Masks of 0, 1, 2 and 150."""
    base = Path(root) / "ADEChallengeData2016"
    for folder, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        picture(base / "images" / folder / f"{stem}.jpg")
        put(base / "annotations" / folder / f"{stem}.png", filled(0, p00=1, p01=2, p34=150))
    ade_table(base)
    return Path(root)


def ade_table(base: Path) -> None:
    rows = [f"{index}\t0.1\t11\t1\t0\t{name}" for index, name in enumerate(ADE_CLASSES, 1)]
    lists(base, objectInfo150=["Idx\tRatio\tTrain\tVal\tStuff\tName", *rows])


def pet(root: str = "pet", train: Sequence[str] = ("Abyssinian_1", "american_bulldog_10")) -> Path:
    """Trimaps: background, one pixel of the animal, one of its border."""
    base = Path(root) / "oxford-iiit-pet"
    test = ("Abyssinian_2",)
    lines = {split: [f"{name} 1 1 1" for name in names] for split, names in (("trainval", train), ("test", test))}
    lists(base / "annotations", **lines)
    for name in (*train, *test):
        picture(base / "images" / f"{name}.jpg")
        put(base / "annotations" / "trimaps" / f"{name}.png", filled(2, p00=1, p01=3))
    return Path(root)
