"""Every reader of conf/dataset from the command line.

A small data set in its publisher's layout is checked and trained on, and the scored pixels are those of the layout,
image by image and class by class.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from segrun.config.options import conf_dir
from segrun.data.sets.shapes import TEXTURES, Shapes
from tests.commands.test_train import command
from tests.conftest import QUICK
from tests.data.sets import layouts, test_alpha, test_coco, test_cvat, test_labelme
from tests.data.sets.layouts import LARGE, TRAIN, VAL, boxes, drawn, pairs
from tests.data.sets.test_coco_maps import CATEGORIES as PANOPTIC

Pixels = NDArray[Any]
Masks = Mapping[str, Pixels]  # (H, W) of 0, 1 and 2, by the name that the reader must give the image
ROOT = Path("data")
SHAPES = [word for word in QUICK if word.startswith("dataset.")]
SMALL = [*(word for word in QUICK if word not in SHAPES), "trainer.epochs=1", "trainer.batch_size=2"]


class Case(NamedTuple):
    """A data set to write and read.

    Attributes:
        write: Writes the layout into ROOT and returns its masks.
        labels: The classes that 0, 1 and 2 are, None for void.
        classes: Number of classes of the data set.
        words: Further options of the command.
    """

    write: Callable[[], Masks]
    labels: Sequence[str | None]
    classes: int
    words: Sequence[str] = ()


def shapes() -> Masks:
    data = Shapes(64, train=8, val=4, test=4, objects=7, seed=0)
    return {name: data.mask(name).numpy() for name in data.names}


def voc() -> Masks:
    base = "VOCdevkit/VOC2012"
    layouts.lists(ROOT / base / "ImageSets/Segmentation", train=TRAIN, val=VAL)
    return pairs(f"{base}/JPEGImages/{{n}}.jpg", f"{base}/SegmentationClass/{{n}}.png", "{n}", (0, 15, 255))


def sbd() -> Masks:
    layouts.lists(ROOT, train=TRAIN, val=VAL)
    return pairs("img/{n}.jpg", "cls/{n}.mat", "{n}", (0, 7, 20), layouts.struct)


def cityscapes() -> Masks:
    stem = "{split}/{split}burg/{split}burg_00000{n}_000019"
    return pairs(f"leftImg8bit/{stem}_leftImg8bit.png", f"gtFine/{stem}_gtFine_labelIds.png", stem, (7, 26, 3))


def ade20k() -> Masks:
    base, stem = "ADEChallengeData2016", "ADE_{split}_0000000{n}"
    layouts.ade_table(ROOT / base)
    image, mask = (f"{base}/{kind}/{{long}}/{stem}" for kind in ("images", "annotations"))
    return pairs(f"{image}.jpg", f"{mask}.png", f"{{split}}/{stem}", (1, 0, 150))


def pet() -> Masks:
    lines = ([f"Abyssinian_{n} 1 1 1" for n in names] for names in (TRAIN, VAL))
    layouts.lists(ROOT / "annotations", **dict(zip(("trainval", "test"), lines, strict=True)))
    return pairs("images/Abyssinian_{n}.jpg", "annotations/trimaps/Abyssinian_{n}.png", "Abyssinian_{n}", (2, 1, 3))


def coco() -> Masks:
    """One object of each image a polygon, the other run lengths."""
    pytest.importorskip("pycocotools")

    def entries(n: int) -> list[dict[str, Any]]:
        (y, x, end, far), _ = boxes(n)
        one, other = [[x, y, x, end, far, end, far, y]], test_coco.runs(drawn(n)[1] == 2)
        return [test_coco.annotation(n, 7, one), test_coco.annotation(n, 3, other)]

    layouts.coco("annotations/instances_{split}2017.json", entries, test_coco.CATEGORIES)
    return pairs("{split}2017/{n}.jpg")


def coco_panoptic() -> Masks:
    folder, colours = "annotations/panoptic_{split}2017", ([0, 0, 0], [5, 0, 0], [44, 1, 0])
    segments = {"segments_info": [{"id": 5, "category_id": 1}, {"id": 300, "category_id": 200}]}
    layouts.coco(f"{folder}.json", lambda n: [{"image_id": n, "file_name": f"{n}.png", **segments}], PANOPTIC)
    return pairs("{split}2017/{n}.jpg", f"{folder}/{{n}}.png", values=colours)


def yolo() -> Masks:
    masks = pairs("images/{split}/{n}.jpg", name="images/{split}/{n}")
    for name in masks:
        shares = np.array(boxes(int(name[-1]))) / (*LARGE, *LARGE)
        lines = [f"{k} {x} {y} {x} {end} {far} {end} {far} {y}" for k, (y, x, end, far) in enumerate(shares)]
        layouts.lists(ROOT / Path(name.replace("images", "labels")).parent, **{name[-1]: lines})
    (ROOT / "data.yaml").write_text("names: [left, right]\ntrain: images/train\nval: images/val\n")
    return masks


def labelme() -> Masks:
    masks = pairs("{split}/{n}.jpg")
    for name in masks:
        sides = zip(("left", "right"), boxes(int(name[-1])), strict=True)
        drawings = [test_labelme.shape(side, (x, y), (far, end)) for side, (y, x, end, far) in sides]
        test_labelme.write(*drawings, name=name, put=False, imageHeight=LARGE[0], imageWidth=LARGE[1])
    return masks


def cvat() -> Masks:
    layouts.lists(ROOT / "ImageSets/Segmentation", train=TRAIN, val=VAL)
    (ROOT / "labelmap.txt").write_text(test_cvat.MAP)
    return pairs("JPEGImages/{n}.jpg", "SegmentationClass/{n}.png", "{n}", test_cvat.COLOURS)


def alpha() -> Masks:
    masks = {str(n): drawn(n)[1] for n in range(6)}
    for name, mask in masks.items():
        test_alpha.put(f"{ROOT}/{name}.png", np.array([0, 255, 128], np.uint8)[mask], drawn(int(name))[0])
    return masks


def microscopy() -> Masks:
    from tests.data.sets.test_microscopy import saved

    masks = pairs("{split}/images/{n}.tif", "{split}/masks/{n}.png")
    for name in masks:  # two channels of 16 bits in place of the picture
        values = drawn(int(name[-1]))[0][..., :2].transpose(2, 0, 1).astype(np.uint16) * 200
        saved(values, f"{ROOT}/{name.replace('/', '/images/')}.tif", metadata={"axes": "CYX"}, photometric="minisblack")
    return masks


def geotiff() -> Masks:
    """Scenes of two tiles."""
    from tests.data.sets.test_geotiff import scene

    masks = {}
    for n in (*TRAIN, *VAL):
        (image, mask), split = drawn(int(n)), "train" if n in TRAIN else "val"
        scene(n, image.transpose(2, 0, 1), mask, f"{ROOT}/{split}")
        masks |= {f"{split}/{n}/000000_{left:06}": mask[:, left : left + 32] for left in (0, 32)}
    return masks


def nifti() -> Masks:
    from tests.data.sets.test_nifti import saved

    def save(case: int, images: Pixels, masks: Pixels) -> None:
        for folder, values in (("imagesTr", images), ("labelsTr", masks)):  # slices lie up, rows to the back
            saved(f"{ROOT}/{folder}/{case}.nii.gz", values[:, ::-1, ::-1].transpose(2, 1, 0).astype(np.int16))

    masks = layouts.stacks(save)
    (ROOT / "dataset.json").write_text(json.dumps({"labels": {"0": "ground", "1": "left", "2": "right"}}))
    return masks


def dicom() -> Masks:
    from tests.data.sets.test_dicom import saved

    def save(case: int, images: Pixels, masks: Pixels) -> None:
        for index, name in enumerate("za"):
            saved(f"{ROOT}/images/{case}/{name}.dcm", images[index], height=2.5 * index)
            layouts.put(ROOT / f"masks/{case}/{name}.png", masks[index])

    return layouts.stacks(save)


OWN = ("ground", "left", "right")
NAMED = "dataset.classes=[ground,left,right]"
DRAWN = ("split.train=0.5", "split.val=0.25", "split.test=0.25")  # where the layout has no split
CASES = {
    "ade20k": Case(ade20k, ("wall", None, "thing150, thing"), 150),
    "alpha": Case(alpha, ("background", "person", None), 2, ("dataset.void=[0.1,0.9]", *DRAWN)),
    "camvid": Case(
        lambda: pairs("{split}/{n}.png", "{split}annot/{n}.png", values=(3, 8, 11)), ("road", "car", None), 11
    ),
    "cityscapes": Case(cityscapes, ("road", "car", None), 19),
    "coco": Case(coco, ("background", "dog", "cat"), 3),
    "coco_panoptic": Case(coco_panoptic, (None, "person", "rug-merged"), 2),
    "coco_stuff": Case(
        lambda: pairs("{split}2017/{n}.jpg", "stuffthingmaps/{split}2017/{n}.png", values=(181, 0, 12)),
        ("wood", "person", "stop sign"), 171,
    ),
    "cvat": Case(cvat, ("background", "car", "road sign"), 3),
    "dicom": Case(dicom, OWN, 3, (NAMED, *DRAWN)),
    "folder": Case(lambda: pairs("images/{n}.png", "masks/{n}.png", "{n}"), OWN, 3, (NAMED, *DRAWN)),
    "geotiff": Case(geotiff, OWN, 3, (NAMED, "dataset.tile=32")),
    "labelme": Case(labelme, ("background", "left", "right"), 3),
    "microscopy": Case(microscopy, OWN, 3, (NAMED, "dataset.channels=2")),
    "nifti": Case(nifti, OWN, 3, DRAWN),
    "pet": Case(pet, ("background", "pet", None), 2),
    "sbd": Case(sbd, ("background", "car", "tvmonitor"), 21),
    "shapes": Case(shapes, ("background", *TEXTURES), 6, SHAPES),
    "voc": Case(voc, ("background", "person", None), 21),
    "yolo": Case(yolo, ("background", "left", "right"), 3),
}  # fmt: skip
# one of each kind: alpha channels, annotations, colours, volumes, tiles, MATLAB files; the others are slow together
TRAINED = ("alpha", "coco", "cvat", "dicom", "geotiff", "sbd")


def written(name: str) -> tuple[Case, Masks, list[str]]:
    """A case, its masks, and the options that select it."""
    case = CASES[name]
    masks = case.write()
    return case, masks, [f"dataset={name}", *case.words, *([f"dataset.root={ROOT}"] if ROOT.is_dir() else [])]


def left(pattern: str) -> Path:
    (path,) = Path("outputs").glob(pattern)
    return path


def pixels(masks: Masks, labels: Sequence[str | None]) -> dict[tuple[str, str], int]:
    """By image and class, where there are any."""
    counts = {name: np.bincount(mask.flat, minlength=len(labels)).tolist() for name, mask in masks.items()}
    return {(n, k): v for n, row in counts.items() for k, v in zip(labels, row, strict=True) if k is not None and v}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_data_set_in_its_layout_is_found_without_fault(name: str) -> None:
    _, masks, words = written(name)
    assert command("check", *words, "samples=1") == 0
    report = json.loads(left("check/*/*/findings.json").read_text())
    assert report["images"] == len(masks) and not report["problems"]
    assert not [finding for finding in report["findings"] if finding["severity"] == "error"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in TRAINED else pytest.mark.slow) for n in CASES])
def test_it_is_trained_on_and_scored_by_its_own_labels(name: str) -> None:
    case, masks, words = written(name)
    assert command("train", *words, *SMALL, "strategy=scratch", "trainer.workers=0") == 0
    split, result = (json.loads(left(f"train/*/*/{file}.json").read_text()) for file in ("split", "result"))
    assert sorted(image for images in split.values() for image in images) == sorted(masks)
    assert math.isfinite(result["val"]["loss"]) and 0 <= result["val"]["miou_present"] <= 1
    classes = result["val"]["per_class"].keys()
    assert len(classes) == case.classes and {label for label in case.labels if label} <= classes
    with left("train/*/*/scores.csv").open(newline="", encoding="utf-8") as file:
        counts = {(row["image"], row["class"]): int(row["tp"]) + int(row["fn"]) for row in csv.DictReader(file)}
    scored = {image: masks[image] for image in split.get("test", split["val"])}
    assert {key: count for key, count in counts.items() if count} == pixels(scored, case.labels)


def test_every_reader_is_among_them() -> None:
    assert CASES.keys() == {path.stem for path in conf_dir().glob("dataset/*.yaml")}
