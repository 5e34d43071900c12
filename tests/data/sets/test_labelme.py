"""LabelMe's JSON files: shapes in known pixels, classes, splits, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segrun.data.sets.labelme import LabelMe
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

SIZE = (8, 10)


def shape(label: str, *points: tuple[float, float], kind: str | None = "rectangle") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}


CAT = shape("cat", (2, 1), (6, 4))


def write(*shapes: dict[str, Any], name: str = "a", image: str | None = None, put: bool = True, **more: Any) -> Path:
    file = Path(f"data/{name}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    image = image or f"{file.stem}.jpg"
    content = {"version": "5.5.0", "imagePath": image, "imageData": None, "shapes": shapes,
               "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}  # fmt: skip
    file.write_text(json.dumps(content))
    if put:
        path = file.parent / image.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(path)
    return file


def labelme(
    classes: Sequence[str] | None = ("cat", "dog"),
    background: str | None = "background",
    void: Sequence[str] = ("__ignore__",),
) -> LabelMe:
    return LabelMe("data", classes, background, void)


def test_a_rectangle_is_its_two_corners_in_any_order() -> None:
    expected = np.zeros(SIZE, int)
    expected[1:4, 2:6] = 1
    for points in (((2, 1), (6, 4)), ((6, 1), (2, 4)), ((6, 4), (2, 1))):
        write(shape("cat", *points))
        assert labelme().mask("a").tolist() == expected.tolist()
    assert labelme().classes.names == ("background", "cat", "dog")
    assert labelme().files("a") == (Path("data/a.jpg"), Path("data/a.json"))


@pytest.mark.parametrize("kind", ["polygon", None])
def test_a_polygon_holds_the_centres_inside_it(kind: str | None) -> None:
    write(shape("dog", (0, 0), (4, 0), (4, 4), kind=kind))
    expected = np.zeros(SIZE, int)
    for row in range(4):
        expected[row, row:4] = 2  # a centre on the edge belongs to what is right of it
    assert labelme().mask("a").tolist() == expected.tolist()


def test_a_circle_is_its_centre_and_a_point_on_it() -> None:
    write(shape("cat", (4, 4), (4, 6), kind="circle"))
    expected = np.zeros(SIZE, int)
    expected[2:6, 2:6] = 1
    expected[[2, 2, 5, 5], [2, 5, 2, 5]] = 0
    assert labelme().mask("a").tolist() == expected.tolist()


def test_later_shapes_lie_on_top_also_where_they_are_larger() -> None:
    write(CAT, shape("dog", (0, 0), (10, 8)))
    assert (labelme().mask("a") == 2).all()
    write(shape("dog", (0, 0), (10, 8)), CAT, shape("background", (2, 1), (3, 2)))
    assert np.bincount(labelme().mask("a").flatten()).tolist() == [1, 11, 68]


def test_labels_to_ignore_are_void_and_so_is_the_rest_without_a_background() -> None:
    write(CAT, shape("__ignore__", (0, 0), (1, 1)), shape("blur", (0, 1), (1, 2)))
    mask = labelme(void=["__ignore__", "blur"]).mask("a")
    assert mask[:2, 0].tolist() == [VOID, VOID] and mask.unique().tolist() == [0, 1, VOID]
    data = labelme(background=None, void=["__ignore__", "blur"])
    assert data.classes.names == ("cat", "dog") and data.mask("a").unique().tolist() == [0, VOID]


def test_classes_that_are_not_given_are_what_is_drawn() -> None:
    write(shape("dog", (0, 0), (1, 1)), shape("__ignore__", (0, 0), (1, 1)))
    write(CAT, name="sub/b")
    data = labelme(None)
    assert data.classes.names == ("background", "cat", "dog") and data.names == ("a", "sub/b")
    assert data.notes == ["classes are the labels that are drawn: cat, dog (dataset.classes sets them)"]


def test_a_label_outside_the_classes_is_named_with_file_and_shape() -> None:
    write(CAT, shape("cta", (0, 0), (1, 1)))
    with pytest.raises(DataError, match=r"data/a\.json: shape 2 \(cta\): is none of background, cat, dog"):
        labelme().mask("a")


def test_a_rectangle_of_four_corners_is_read_as_x_anylabeling_writes_it() -> None:
    expected = np.zeros(SIZE, int)
    expected[1:4, 2:6] = 1
    for points in (((2, 1), (6, 1), (6, 4), (2, 4)), ((6, 4), (2, 4), (2, 1), (6, 1))):
        write(shape("cat", *points))
        assert labelme().mask("a").tolist() == expected.tolist()


def png(values: Any) -> str:
    content = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize("last", [(4, 2), (5, 3)], ids=["last pixel", "one after it"])
def test_a_mask_is_its_box_and_a_png(last: tuple[int, int]) -> None:
    values = [[1, 0, 1], [0, 255, 0]]
    write({**shape("dog", (2, 1), last, kind="mask"), "mask": png(values)})
    expected = np.zeros(SIZE, int)
    expected[1:3, 2:5] = 2 * (np.array(values) > 0)
    assert labelme().mask("a").tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "its mask is not a PNG in base64"),
        (5, "its mask is not a PNG in base64"),
        ("x", "its mask is not a PNG in base64"),
        (base64.b64encode(b"GIF89a").decode(), "its mask is not a PNG in base64"),
        (png(np.ones((2, 3)))[:40], "its mask is not a PNG in base64"),
        (png(np.ones((9, 9))), r"its mask of 9×9 does not fill the box \(2, 1\) to \(4, 2\) in the image of 10×8"),
        (png(np.ones((2, 3, 3))), "its mask has several channels"),
    ],
)
def test_a_mask_that_is_none_is_refused(text: object, message: str) -> None:
    write({**shape("dog", (2, 1), (4, 2), kind="mask"), "mask": text})
    with pytest.raises(DataError, match=rf"data/a\.json: shape 1 \(dog\): {message}"):
        labelme().mask("a")


@pytest.mark.parametrize("kind", ["rotation", 5, ["polygon"]])
def test_another_kind_of_shape_is_named(kind: Any) -> None:
    write(shape("cat", (0, 0), (1, 1), kind=kind))
    named = re.escape(repr(kind))
    with pytest.raises(DataError, match=rf"data/a\.json: shape 1 \(cat\): its shape_type is {named}\. Draw it as"):
        labelme().mask("a")


@pytest.mark.parametrize("image", ["../secret.jpg", "..\\secret.jpg", "sub/../../secret.jpg", "{root}/../secret.jpg"])
def test_an_image_outside_the_root_is_read_only_where_that_is_allowed(image: str, tmp_path: Path) -> None:
    image = image.format(root=tmp_path / "data")
    write(CAT)
    Path("data/sub").mkdir()
    write(CAT, name="b", image=image)
    (problem,) = labelme().problems
    assert problem == (
        f"data/b.json: its imagePath is {image}, which is outside dataset.root. Move it into root, or, if you trust "
        "the origin of this file: dataset.allow_outside=true."
    )
    assert labelme().names == ("a",)
    data = from_config("dataset=labelme", "dataset.root=data", "dataset.allow_outside=true")
    assert data.names == ("a", "b") and data.mask("b").equal(data.mask("a"))


def test_links_in_the_root_are_followed_and_absolute_paths_into_it_too(tmp_path: Path) -> None:
    write(CAT, image="pics/a.jpg")
    Path("data/pics").rename("store")
    Path("data/pics").symlink_to(tmp_path / "store")
    write(CAT, name="b", image=str(tmp_path / "data/pics/a.jpg"), put=False)
    data = labelme()
    assert not data.problems and data.sample("b").mask.equal(data.sample("a").mask)


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points"])
def test_shapes_without_an_area_are_refused_by_name(kind: str) -> None:
    write(shape("cat", (0, 0), (1, 1), kind=kind))
    with pytest.raises(DataError, match=rf"data/a\.json: shape 1 \(cat\): a {kind} has no area"):
        labelme().mask("a")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("cat", (0, 0), (1, 1), kind="polygon"), "2 points; 3 are needed"),
        (shape("cat", (0, 0), kind="circle"), "1 points; 2 are needed"),
        (shape("cat", (2, 1), (6, 4), (6, 1), (1, 4)), "its 4 points are not the corners of an upright rectangle"),
        (shape("cat", (0, 0), (1, 1), (2, 2)), "a rectangle has 2 points, not 3"),
        (shape("cat", (0, 0), (1, 1), (2, 2), kind="circle"), "a circle has 2 points, not 3"),
        (shape("cat", (0, 0), (500, 1)), r"the point \(500, 1\) lies far outside the image of 10×8"),
        ({"label": "cat", "points": [[0, 0], [1, None], [2, 2]]}, "points must be pairs of numbers"),
        ({"label": "cat", "points": [[0, 0, 1], [1, 1, 1]]}, "points must be pairs of numbers"),
        ({"label": "cat", "points": [[0, 0], [1, 10**400], [2, 2]]}, "points must be pairs of numbers"),
    ],
)
def test_points_that_make_no_shape_are_refused(wrong: dict[str, Any], message: str) -> None:
    write(wrong)
    with pytest.raises(DataError, match=rf"data/a\.json: shape 1 \(cat\): {message}"):
        labelme().mask("a")


def test_an_image_of_another_size_than_the_json_says_is_refused() -> None:
    write(CAT, imageHeight=10, imageWidth=8)
    with pytest.raises(DataError, match=r"a\.jpg: is 10×8 .*a\.json states 8×10"):
        labelme().mask("a")
    write(CAT, imageHeight=None, imageWidth=None)
    assert int(labelme().mask("a").sum()) == 12


def test_an_image_is_turned_before_it_is_measured() -> None:
    write(CAT)
    expected = labelme().mask("a")
    exif = Image.Exif()
    exif[0x0112] = 8  # a quarter turn
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save("data/a.jpg", exif=exif)
    assert labelme().sample("a").mask.equal(expected)


def test_the_image_is_where_image_path_says() -> None:
    write(CAT, name="labels/one", image="..\\pics\\b.png")
    data = labelme()
    assert data.names == ("labels/one",) and data.files("labels/one")[0].resolve() == Path("data/pics/b.png").resolve()
    assert data.sample("labels/one").image.shape == (3, *SIZE) and not data.notes


def test_images_that_are_missing_or_have_no_json_are_told() -> None:
    write(CAT)
    write(CAT, name="gone", put=False)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save("data/bare.png")
    data = labelme()
    assert data.problems == [
        "data/gone.json: its imagePath gone.jpg is missing. Restore the image, or remove the JSON file."
    ]
    assert data.notes == ["left out: 1 images without a JSON file"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"data/b\.json: cannot be read as JSON"),
        ("[1]", r"data/b\.json: holds no JSON object"),
        ('{"images": [], "annotations": []}', r"data/b\.json: is not a file of LabelMe"),
        (
            '{"imagePath": "a.jpg", "shapes": [{"label": "cat"}]}',
            r"b\.json: shapes\[0\]\.points is missing: must be",
        ),
        ('{"imagePath": 5, "shapes": []}', r"data/b\.json: imagePath=5: must be text\. Correct the file"),
        ('{"imagePath": "a.jpg", "shapes": {}}', r"data/b\.json: shapes=\{\}: must be a list"),
        ('{"imagePath": "a.jpg", "shapes": [5]}', r"data/b\.json: shapes\[0\]\.label is missing"),
        (
            '{"imagePath": "a.jpg", "shapes": [{"label": null, "points": []}]}',
            r"data/b\.json: shapes\[0\]\.label=null: must be text or a number",
        ),
        ("[" * 50_000, r"data/b\.json: cannot be read as JSON \(maximum recursion depth exceeded"),
    ],
)
def test_a_json_that_is_not_labelmes_is_a_problem(text: str, message: str) -> None:
    write(CAT)
    Path("data/b.json").write_text(text)
    with pytest.raises(DataError, match=message):
        labelme().check()


def test_a_root_without_json_is_refused() -> None:
    Path("data").mkdir()
    with pytest.raises(DataError, match="data: no JSON file of LabelMe"):
        labelme()


def test_folders_of_splits_are_the_split() -> None:
    for name in ("train/a", "train/x/b", "val/a", "elsewhere/c"):
        write(CAT, name=name)
    data = labelme()
    assert data.splits == {"train": ("train/a", "train/x/b"), "val": ("val/a",)}
    assert data.names == ("train/a", "train/x/b", "val/a")


def test_one_class_alone_is_refused() -> None:
    write(CAT)
    with pytest.raises(RequestError, match=r"1 classes \(cat\)\. Give 2 to 255"):
        labelme(None, background=None)


def test_it_is_built_from_its_yaml_and_goes_to_other_processes() -> None:
    write(CAT, shape("__ignore__", (0, 0), (1, 1)))
    data = from_config("dataset=labelme", "dataset.root=data")
    mask = pickle.loads(pickle.dumps(data)).mask("a")
    assert data.classes.names == ("background", "cat") and mask.unique().tolist() == [0, 1, VOID]
