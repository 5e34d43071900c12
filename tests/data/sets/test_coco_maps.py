"""COCO panoptic and COCO-Stuff: values to classes, folders, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrun.data.sets.coco_panoptic import CocoPanoptic
from segrun.data.sets.coco_stuff import CocoStuff
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

CATEGORIES = [{"id": 200, "name": "rug-merged", "isthing": 0}, {"id": 1, "name": "person", "isthing": 1}]


def put(path: str, values: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def panoptic(split: str = "train", place: str = "coco/annotations", **more: object) -> None:
    """Segment 5 is a person, 1·256 + 2·65536 another, 300 a rug; 0 has no label."""
    put(f"coco/{split}2017/01.jpg", np.zeros((2, 3, 3)))
    ids = [[[5, 0, 0], [0, 1, 2], [44, 1, 0]], [[0, 0, 0], [5, 0, 0], [44, 1, 0]]]
    put(f"{place}/panoptic_{split}2017/01.png", ids)
    segments = [{"id": 5, "category_id": 1}, {"id": 256 + 2 * 65536, "category_id": 1, "iscrowd": 1},
                {"id": 300, "category_id": 200}]  # fmt: skip
    entry = {"image_id": 1, "file_name": "01.png", "segments_info": segments}
    content = {"images": [], "annotations": [entry], "categories": CATEGORIES, **more}
    Path("coco/annotations").mkdir(exist_ok=True)
    Path(f"coco/annotations/panoptic_{split}2017.json").write_text(json.dumps(content))


@pytest.mark.parametrize("place", ["coco/annotations", "coco"])
def test_panoptic_segments_are_their_categories(place: str) -> None:
    for split in ("train", "val"):
        panoptic(split, place)
    data = CocoPanoptic("coco")
    assert data.classes.names == ("person", "rug-merged")
    assert data.splits == {"train": ("train/01",), "val": ("val/01",)}
    assert data.mask("val/01").tolist() == [[0, 0, 1], [VOID, 0, 1]]
    assert data.files("val/01")[2] == Path("coco/annotations/panoptic_val2017.json")


def test_a_panoptic_mask_without_labels_is_void() -> None:
    panoptic()
    put("coco/annotations/panoptic_train2017/01.png", np.zeros((2, 3, 3)))
    assert (CocoPanoptic("coco").mask("train/01") == VOID).all()


def test_a_segment_that_the_json_does_not_know_is_refused() -> None:
    panoptic()
    put("coco/annotations/panoptic_train2017/01.png", np.full((2, 3, 3), 1))
    with pytest.raises(DataError, match=r"01\.png: segments that .*panoptic_train2017\.json does not list: 65793"):
        CocoPanoptic("coco").mask("train/01")


def test_a_panoptic_json_that_is_none_is_refused() -> None:
    panoptic(categories=[{"id": 1, "name": "person"}])
    with pytest.raises(DataError, match=r"panoptic_train2017\.json: annotations\[0\]\.segments_info\[2\]: id 300 of"):
        CocoPanoptic("coco")
    panoptic()
    panoptic("val", categories=[*CATEGORIES, {"id": 3, "name": "car"}])
    Path("coco/annotations/panoptic_val2017.json").write_text('{"categories": [], "annotations": []}')
    with pytest.raises(DataError, match=r"panoptic_val2017\.json: its categories are not those"):
        CocoPanoptic("coco")


def test_images_without_png_or_json_are_problems() -> None:
    panoptic()
    put("coco/train2017/02.jpg", np.zeros((2, 3, 3)))
    put("coco/train2017/03.jpg", np.zeros((2, 3, 3)))
    put("coco/annotations/panoptic_train2017/03.png", np.zeros((2, 3, 3)))
    problems = "\n".join(CocoPanoptic("coco").problems)
    assert "1 images without a mask: 02" in problems and "1 images are not in the panoptic JSON: train/03" in problems


@pytest.mark.parametrize("data", [CocoPanoptic, CocoStuff])
def test_a_root_without_masks_is_refused(data: type[CocoPanoptic] | type[CocoStuff]) -> None:
    put("coco/train2017/01.jpg", np.zeros((2, 3, 3)))
    with pytest.raises(RequestError, match=r"coco: dataset\.root must hold .*train2017"):
        data("coco")


@pytest.mark.parametrize(("images", "maps"), [("", "stuffthingmaps/"), ("images/", "annotations/")])
def test_stuff_has_171_classes_and_a_value_is_an_id_less_one(images: str, maps: str) -> None:
    put(f"coco/{images}val2017/01.jpg", np.zeros((2, 3, 3)))
    put(f"coco/{maps}val2017/01.png", [[0, 10, 12], [89, 91, 181]])
    put(f"coco/{images}val2017/02.jpg", np.zeros((2, 3, 3)))
    put(f"coco/{maps}val2017/02.png", [[0, 255, 255], [64, 66, 255]])
    data = CocoStuff("coco")
    names = data.classes.names
    assert len(names) == 171 and data.splits == {"val": ("val/01", "val/02")}
    shown = [names[value] for value in data.mask("val/01").flatten()]
    assert shown == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "wood"]
    assert [int(v) for v in data.mask("val/01").flatten()] == [0, 10, 11, 79, 80, 170]
    assert data.mask("val/02").tolist() == [[0, VOID, VOID], [names.index("bed"), names.index("dining table"), VOID]]


@pytest.mark.parametrize("value", [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182])
def test_a_value_of_a_class_removed_from_coco_is_refused(value: int) -> None:
    put("coco/val2017/01.jpg", np.zeros((1, 1, 3)))
    put("coco/stuffthingmaps/val2017/01.png", [[value]])
    with pytest.raises(DataError, match=rf"01\.png: values that its publisher does not use: {value} \(1 pixels\)"):
        CocoStuff("coco").mask("val/01")


def test_maps_in_colours_are_not_coco_stuffs() -> None:
    put("coco/val2017/01.jpg", np.zeros((1, 1, 3)))
    put("coco/stuffthingmaps/val2017/01.png", [[[1, 2, 3]]])
    with pytest.raises(DataError, match=r"01\.png: a mask in colours"):
        CocoStuff("coco").mask("val/01")


@pytest.mark.parametrize("name", ["coco_panoptic", "coco_stuff"])
def test_each_is_built_from_its_yaml(name: str) -> None:
    panoptic()
    put("coco/stuffthingmaps/train2017/01.png", np.zeros((2, 3)))
    data = from_config(f"dataset={name}", "dataset.root=coco")
    assert data.sample("train/01").mask.shape == (2, 3)
