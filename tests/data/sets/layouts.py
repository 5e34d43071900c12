"""Write the layouts of published data sets, with a few pictures of known pixels. Each function returns the root."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (4, 5)
# the pictures 0 to 5 of `pairs`, which are large enough to train on
LARGE = (32, 64)
TRAIN, VAL = ("0", "1", "2", "3"), ("4", "5")
# in objectInfo150.txt a name may consist of several words
ADE_CLASSES = ("wall", "building, edifice", *(f"thing{index}, thing" for index in range(3, 151)))


def filled(value: int, **pixels: int) -> np.ndarray:
    """(4, 5) of one value, except for pixels given by row and column: p13=5."""
    mask = np.full(SIZE, value, np.uint8)
    for position, other in pixels.items():
        mask[int(position[1]), int(position[2])] = other
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


def boxes(number: int) -> tuple[tuple[int, int, int, int], ...]:
    """(top, left, bottom, right) of the two objects in a large picture; their sizes depend on its number, 0 to 11."""
    return (3, 5, 14 + number, 15 + number), (8, 36, 29 - number, 60)


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (32, 64, 3) and its mask (32, 64): 0, and the boxes of 1 and 2."""
    mask = np.zeros(LARGE, np.uint8)
    for value, (top, left, bottom, right) in enumerate(boxes(number), 1):
        mask[top:bottom, left:right] = value
    noise = np.random.default_rng(number).integers(0, 60, (*LARGE, 3), dtype=np.uint8)
    return noise + 90 * mask[..., None], mask


def pairs(
    image: str,
    mask: str | None = None,
    name: str = "{split}/{n}",
    values: object = (0, 1, 2),
    keep: Callable[[Path, np.ndarray], None] = put,
    root: str = "data",
) -> Mapping[str, np.ndarray]:
    """Six large pictures in files with these path templates.

    values: what mask files hold for 0, 1 and 2. Returns the masks by the name that the reader must give the image.
    """
    masks = {}
    for n in (*TRAIN, *VAL):
        split, long = ("train", "training") if n in TRAIN else ("val", "validation")
        fields = {"split": split, "long": long, "n": n}
        pixels, labels = drawn(int(n))
        put(Path(root, image.format(**fields)), pixels)
        if mask is not None:
            keep(Path(root, mask.format(**fields)), np.array(values)[labels])
        masks[name.format(**fields)] = labels
    return masks


def stacks(save: Callable[[int, np.ndarray, np.ndarray], None]) -> Mapping[str, np.ndarray]:
    """Six cases of two large slices each, saved as (2, 32, 64) images and masks. Returns the masks as `pairs` does."""
    slices = [drawn(number) for number in range(12)]
    for case in range(6):
        images, masks = (np.stack(both) for both in zip(*slices[2 * case : 2 * case + 2], strict=True))
        save(case, images[..., 0].astype(np.uint16), masks)
    return {f"{number // 2}/{number % 2:03}": mask for number, (_, mask) in enumerate(slices)}


def coco(path: str, entries: Callable[[int], Sequence[object]], categories: object, root: str = "data") -> None:
    """The JSON files of train and val for large pictures; entries: the annotations of one."""
    for split, names in (("train", TRAIN), ("val", VAL)):
        numbers = [int(name) for name in names]
        images = [{"id": n, "file_name": f"{n}.jpg", "width": LARGE[1], "height": LARGE[0]} for n in numbers]
        annotations = [entry for n in numbers for entry in entries(n)]
        file = Path(root, path.format(split=split))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
