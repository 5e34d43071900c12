"""CVAT's "Segmentation mask 1.1": colours, palettes, grey values, lists, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrun.data.sets.cvat import Cvat
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:245,147,49::\nroad sign:10,20,30:a,b:c\n"
COLOURS = np.array([[0, 0, 0], [245, 147, 49], [10, 20, 30]], np.uint8)
INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def put(name: str = "a", mask: np.ndarray | Image.Image | None = None, image: bool = True) -> None:
    for folder in ("JPEGImages", "SegmentationClass"):
        Path("export", folder, name).parent.mkdir(parents=True, exist_ok=True)
    if image:
        Image.fromarray(np.full((2, 3, 3), 90, np.uint8)).save(f"export/JPEGImages/{name}.jpg")
    picture = mask if isinstance(mask, Image.Image) else Image.fromarray(COLOURS[INDICES] if mask is None else mask)
    picture.save(f"export/SegmentationClass/{name}.png")


def sets(**names: str) -> None:
    Path("export/ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    for key, text in names.items():
        Path(f"export/ImageSets/Segmentation/{key}.txt").write_text(text)


def cvat(void: Sequence[str] = (), labels: str = MAP) -> Cvat:
    Path("export").mkdir(exist_ok=True)
    Path("export/labelmap.txt").write_text(labels)
    return Cvat("export", void)


def palette() -> Image.Image:
    """Palette images whose indices are in another order than the labels."""
    image = Image.fromarray(np.array([7, 3, 5], np.uint8)[INDICES]).convert("P")
    table = np.zeros((256, 3), np.uint8)
    table[[7, 3, 5]] = COLOURS
    image.putpalette(table.flatten().tolist())
    return image


@pytest.mark.parametrize("mask", [COLOURS[INDICES], INDICES, palette()], ids=["colours", "grey", "palette"])
def test_masks_say_the_label_by_colour_or_by_its_place(mask: np.ndarray | Image.Image) -> None:
    put(mask=mask)
    data = cvat()
    assert data.classes.names == ("background", "car", "road sign")
    assert data.classes.palette == ((0, 0, 0), (245, 147, 49), (10, 20, 30))
    assert data.sample("a").mask.tolist() == INDICES.tolist() and not data.splits


def test_a_mask_of_background_alone_is_read_as_such() -> None:
    put(mask=np.zeros((2, 3, 3), np.uint8))
    assert not cvat().mask("a").any()


def test_labels_may_mean_no_label() -> None:
    put()
    data = cvat(["background"])
    assert data.classes.names == ("car", "road sign") and data.classes.palette[0] == (245, 147, 49)
    assert data.mask("a").tolist() == [[VOID, 0, 1], [1, 0, VOID]]
    with pytest.raises(RequestError, match=r"dataset\.void: sky: labelmap\.txt has background, car, road sign"):
        cvat(["sky"])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((2, 3, 3), (1, 2, 3), np.uint8), r"#010203 \(6 pixels\)"),
        (np.full((2, 3), 3, np.uint8), r"3 \(6 pixels\)"),
    ],
)
def test_a_colour_or_value_that_no_label_has_is_named(mask: np.ndarray, message: str) -> None:
    put(mask=mask)
    with pytest.raises(DataError, match=rf"SegmentationClass/a\.png: values outside the 3 classes: {message}"):
        cvat().mask("a")


def test_lists_are_the_split_and_say_what_belongs_to_it() -> None:
    for name in ("a", "b", "sub/c d", "e"):
        put(name)
    Path("export/SegmentationClass/e.png").unlink()  # a frame that nobody annotated
    sets(train='a\n"sub/c d"\n', val="b\n\n")
    data = cvat()
    assert data.splits == {"train": ("a", "sub/c d"), "val": ("b",)}
    assert data.names == ("a", "b", "sub/c d") and not data.problems
    assert data.notes == ["left out: 1 images that no list in ImageSets/Segmentation names"]


def test_the_default_list_is_no_split() -> None:
    put("a")
    put("b")
    sets(default="a\n")
    data = cvat()
    assert data.names == ("a",) and data.splits == {}


def test_other_lists_beside_the_splits_are_told() -> None:
    put("a")
    put("b")
    sets(train="a\n", extra="b\n")
    data = cvat()
    assert data.splits == {"train": ("a",)} and data.names == ("a", "b")
    assert data.notes == ["in no split: the images of extra in ImageSets/Segmentation"]


def test_what_is_named_or_paired_and_not_there_is_a_problem() -> None:
    put("a")
    put("b", image=False)
    assert cvat().problems == ["export/SegmentationClass: 1 masks without an image: b. Complete the pairs."]
    sets(default="a\nb\nc\n")
    assert (
        "export: ImageSets/Segmentation names what is not there: c. Restore these, or remove them from the lists."
        in cvat().problems
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("background:0,0,0::\ncar\n", r"labelmap\.txt:2: car: must be name:red,green,blue:parts:actions"),
        ("background:0,0,0::\ncar:0,0,256::\n", r"labelmap\.txt:2: car:0,0,256::: must be"),
        ("background:0,0,0::\ncar:0,0,0::\n", r"labelmap\.txt:2: .* an earlier label has the same name or colour"),
        ("car:0,0,0::\ncar:0,0,1::\n", r"labelmap\.txt:2: .* an earlier label has the same name or colour"),
        ("background:0,0,0::\n", r"labelmap\.txt: 1 labels. There must be 2 to 255"),
    ],
)
def test_a_labelmap_that_cannot_be_understood_is_refused(labels: str, message: str) -> None:
    put()
    with pytest.raises(DataError, match=message):
        cvat(labels=labels)


def test_what_the_export_lacks_is_named() -> None:
    put()
    with pytest.raises(RequestError, match=r"export/labelmap\.txt: No such file.*Segmentation mask 1\.1"):
        Cvat("export", [])
    Path("export/JPEGImages/a.jpg").unlink()
    with pytest.raises(DataError, match="no pair of image and mask"):
        cvat()
    Path("export/JPEGImages").rmdir()
    with pytest.raises(RequestError, match=r"JPEGImages: there is no such folder\. Export with images"):
        cvat()


def test_it_is_built_from_its_yaml_and_goes_to_other_processes() -> None:
    put()
    cvat()
    data = from_config("dataset=cvat", "dataset.root=export")
    assert pickle.loads(pickle.dumps(data)).mask("a").tolist() == INDICES.tolist()
