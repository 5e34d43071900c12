"""YOLO's segmentation labels: known pixels, layouts of data.yaml, and what is refused by file and line."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrun.data.sets.yolo import Yolo, find_label_file
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

SIZE = (8, 10)
BOTH = "names: [cat, dog]\ntrain: images/train\nval: images/val\n"
SQUARE = "0.2 0.125 0.6 0.125 0.6 0.5 0.2 0.5"  # x from 2 to 6, y from 1 to 4


def put(path: str, text: str | None = None) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        Path(path).write_text(text)
    else:
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(path)


def parts(label: str | None = f"1 {SQUARE}\n", data: str = BOTH) -> None:
    put("parts/data.yaml", data)
    for split in ("train", "val"):
        put(f"parts/images/{split}/a.jpg")
        if label is not None:
            put(f"parts/labels/{split}/a.txt", label)


def yolo(background: str | None = "background", data: str = "data.yaml") -> Yolo:
    return Yolo("parts", data, background)


def test_names_follow_the_background_and_polygons_are_shares_of_the_image() -> None:
    parts()
    data = yolo()
    assert data.classes.names == ("background", "cat", "dog")
    assert data.splits == {"train": ("images/train/a",), "val": ("images/val/a",)} and not data.problems
    expected = np.zeros(SIZE, int)
    expected[1:4, 2:6] = 2
    assert data.sample("images/train/a").mask.tolist() == expected.tolist()
    assert data.files("images/val/a") == (Path("parts/images/val/a.jpg"), Path("parts/labels/val/a.txt"))


def test_the_smaller_of_two_polygons_lies_on_top() -> None:
    parts(f"1 {SQUARE}\n0 0 0 1 0 1 1 0 1\n")
    assert np.bincount(yolo().mask("images/train/a").flatten()).tolist() == [0, 68, 12]


def test_without_a_background_what_no_polygon_covers_is_void() -> None:
    parts()
    data = yolo(None)
    assert data.classes.names == ("cat", "dog")
    assert data.mask("images/train/a").unique().tolist() == [1, VOID]


@pytest.mark.parametrize("label", [None, "", "\n  \n"])
def test_an_image_without_labels_is_background(label: str | None) -> None:
    parts(label)
    data = yolo()
    assert not data.mask("images/train/a").any()
    assert ("2 images have no label file: all background" in data.notes) == (label is None)
    assert len(data.files("images/train/a")) == (1 if label is None else 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "5 numbers are a box"),
        ("0 0.1 0.1 0.9", "3 coordinates are not pairs"),
        ("0 0.1 0.1", "1 points; 3 are needed"),
        ("0", "0 points; 3 are needed"),
        ("0 0.1 0.1 0.9 0.1 0.9 1.01", r"the coordinate 1\.01 is outside 0…1"),
        ("0 10 10 90 10 90 -90", r"the coordinate -90 is outside 0…1"),
        ("0 0.1 0.1 0.9 0.1 0.9 nan", "points must be pairs of numbers"),
        ("0 0.1 0.1 0.9 0.1 0.9 x", "points must be pairs of numbers"),
        ("2 0.1 0.1 0.9 0.1 0.9 0.9", r"class 2; data\.yaml names 0 to 1"),
        ("-1 0.1 0.1 0.9 0.1 0.9 0.9", r"class -1; data\.yaml names 0 to 1"),
        ("cat 0.1 0.1 0.9 0.1 0.9 0.9", r"class cat; data\.yaml names 0 to 1"),
    ],
)
def test_a_line_that_is_no_polygon_is_refused_by_file_and_number(line: str, message: str) -> None:
    parts(f"1 {SQUARE}\n\n{line}\n")
    with pytest.raises(DataError, match=rf"labels/train/a\.txt:3: {message}"):
        yolo().mask("images/train/a")


def test_rounding_may_leave_the_image_by_a_thousandth() -> None:
    parts("0 -0.0005 0 1.0005 0 1.0005 1 -0.0005 1")
    assert (yolo().mask("images/train/a") == 1).all()


def test_names_may_be_numbered_and_path_and_data_yaml_elsewhere() -> None:
    parts(data="nc: 2\n" + BOTH)
    put("parts/all.yaml", "path: images\ntrain: train\nval: [val]\ntest:\nnames: {1: dog, 0: cat}\n")
    data = yolo(data="all.yaml")
    assert data.classes.names == ("background", "cat", "dog")
    assert data.splits == {"train": ("train/a",), "val": ("val/a",)}
    assert int(data.mask("train/a").sum()) == 24


def test_roboflows_folders_are_found_and_stray_labels_told() -> None:
    for split in ("train", "valid"):
        put(f"parts/{split}/images/a.b.jpg")
        put(f"parts/{split}/labels/a.b.txt", f"0 {SQUARE}")
    put("parts/train/labels/gone.txt", "")
    put("parts/data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n")
    data = yolo()
    assert data.splits == {"train": ("train/images/a.b",), "val": ("valid/images/a.b",)}
    assert int(data.mask("valid/images/a.b").sum()) == 12
    assert data.notes == ["left out: 1 files in parts/train/labels without an image: parts/train/labels/gone.txt"]


def test_lists_name_images_from_where_they_lie_or_from_the_path() -> None:
    parts()
    put("parts/lists/train.txt", "../images/train/a.jpg\n\n")
    put("parts/val.txt", "./images/val/a.jpg\nimages/val/b.jpg\n")
    put("parts/data.yaml", "names: [cat, dog]\ntrain: lists/train.txt\nval: val.txt\n")
    data = yolo()
    assert data.splits == {"train": ("images/train/a",), "val": ("images/val/a",)}
    assert int(data.mask("images/train/a").sum()) == 24
    assert data.problems == ["parts/val.txt: names images/val/b.jpg, which is missing. Restore it, or remove the line."]


CURE = "which is outside dataset.root. Move it into root, or, if you trust the origin of this file: "


@pytest.mark.parametrize("entry", ["../../store/images", "{here}/store/images", "images/../../store/images"])
def test_folders_outside_the_root_are_read_only_where_that_is_allowed(entry: str, tmp_path: Path) -> None:
    entry = entry.format(here=tmp_path)
    put("home/parts/data.yaml", f"names: [cat, dog]\ntrain: {entry}\n")
    put("store/images/a.jpg")
    put("home/store/images/a.jpg")
    put("store/labels/a.txt", f"1 {SQUARE}")
    put("home/store/labels/a.txt", f"1 {SQUARE}")
    with pytest.raises(DataError) as caught:
        from_config("dataset=yolo", "dataset.root=home/parts")
    assert str(caught.value) == f"home/parts/data.yaml: names {entry}, {CURE}dataset.allow_outside=true."
    put("home/parts/images/other.jpg")
    data = from_config("dataset=yolo", "dataset.root=home/parts", "dataset.allow_outside=true")
    assert int(data.mask(data.names[0]).sum()) == 24


def test_a_path_outside_the_root_is_searched_only_where_that_is_allowed() -> None:
    parts(data="path: ../store\n" + BOTH)
    data = yolo()
    assert data.splits == {"train": ("images/train/a",), "val": ("images/val/a",)} and not data.problems
    assert data.notes == ["parts/data.yaml: its path ../store is outside dataset.root, and is not searched"]
    for split in ("train", "val"):
        put(f"store/images/{split}/b.jpg")
    assert yolo().splits == data.splits
    allowed = from_config("dataset=yolo", "dataset.root=parts", "dataset.allow_outside=true")
    assert allowed.splits == {"train": ("images/train/b",), "val": ("images/val/b",)}
    put("parts/data.yaml", "path: ../store\nnames: [cat]\ntrain: elsewhere\n")
    with pytest.raises(DataError, match=r"data\.yaml: names \.\./store, which is outside dataset\.root"):
        yolo()


def test_lines_of_a_list_that_lead_out_of_the_root_are_a_problem(tmp_path: Path) -> None:
    parts()
    put("secret.jpg")
    put(
        "parts/val.txt",
        f"images/val/a.jpg\n../secret.jpg\n{tmp_path}/secret.jpg\n{tmp_path}/parts/images/train/a.jpg",
    )
    put("parts/data.yaml", "names: [cat, dog]\nval: val.txt\n")
    data = yolo()
    assert data.problems == [
        f"parts/val.txt: names {name}, {CURE}dataset.allow_outside=true."
        for name in ("../secret.jpg", f"{tmp_path}/secret.jpg")
    ]
    assert len(data.splits["val"]) == 2


def test_linked_folders_in_the_root_are_followed(tmp_path: Path) -> None:
    parts()
    for folder in ("images", "labels"):
        Path("store").mkdir(exist_ok=True)
        Path("parts", folder).rename(Path("store", folder))
        Path("parts", folder).symlink_to(tmp_path / "store" / folder)
    data = yolo()
    assert data.names == ("images/train/a", "images/val/a") and int(data.mask("images/train/a").sum()) == 24


@pytest.mark.parametrize(
    "names", ["[no, off, 01, null]", "{0: no, 1: off, 2: 01, 3: null}", "\n- no\n- off\n- 01\n- null\n"]
)
def test_names_are_taken_as_they_are_written(names: str) -> None:
    parts(data=f"nc: 4\nnames: {names}\ntrain: images/train\nval: images/val\ntest: null\n")
    data = yolo()
    assert data.classes.names == ("background", "no", "off", "01", "null") and set(data.splits) == {"train", "val"}
    assert int(data.mask("images/train/a").sum()) == 24


def test_labels_lie_where_the_last_images_says_labels() -> None:
    assert find_label_file(Path("images/x/images/train/a.b.jpg")) == Path("images/x/labels/train/a.b.txt")
    assert find_label_file(Path("x/my_images/images.jpg")) == Path("x/my_images/images.txt")


def test_polygons_follow_an_image_that_is_turned() -> None:
    parts()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save("parts/images/train/a.jpg", exif=exif)
    assert yolo().sample("images/train/a").mask.equal(yolo().mask("images/val/a"))


def test_two_images_of_one_name_are_a_problem() -> None:
    parts()
    put("parts/images/train/a.png")
    assert yolo().problems == ["parts/images/train/a.jpg and a.png share a name. Remove or rename one."]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("names: [a", DataError, r"data\.yaml: is not YAML"),
        ("- a", DataError, "must hold names, train and val"),
        ("train: images/train", DataError, "names must be a list"),
        ("names: {0: a, 2: b}\ntrain: images/train", DataError, "names must be a list, or .* without gaps"),
        ("names: [a, b]\nnc: 3\ntrain: images/train", DataError, "nc is 3, but there are 2 names"),
        ("names: {0: a, 0: b}\ntrain: images/train", DataError, "data.yaml: is not YAML \\('0' occurs twice\\)"),
        ("names: [a, [b]]\ntrain: images/train", DataError, "names must be a list"),
        ("names: [a, ]\ntrain: [{a: b}]", DataError, "train must name a folder or a list"),
        ("names: [a, '']\ntrain: images/train", RequestError, "a class has no name"),
        ("names: !!int x", DataError, r"data\.yaml: is not YAML"),
        ("names: !!python/object:os.system x", DataError, r"data\.yaml: is not YAML"),
        ("[" * 5_000, DataError, r"data\.yaml: is not YAML \(nested too deeply\)"),
        ("names: [a, b]", DataError, "train, val and test name no image"),
        ("names: [a, b]\ntrain: 5", RequestError, "5 is neither in parts nor in parts"),
        ("names: [a, b]\ntrain: images/train/a.jpg", DataError, r"a\.jpg: cannot be read \(not UTF-8 text\)"),
        ("names: [a, b]\ntrain: pics", RequestError, "pics is neither in parts nor in parts"),
        ("names: [a, a]\ntrain: images/train", RequestError, "3 classes .* Give 2 to 255 different ones"),
    ],
)
def test_a_data_yaml_that_cannot_be_understood_is_refused(text: str, error: type[Exception], message: str) -> None:
    parts(data=text)
    with pytest.raises(error, match=message):
        yolo()


def test_a_missing_data_yaml_is_named() -> None:
    parts()
    with pytest.raises(DataError, match=r"parts/dataset\.yaml: cannot be read \(No such file"):
        yolo(data="dataset.yaml")


def test_it_is_built_from_its_yaml_and_goes_to_other_processes() -> None:
    parts()
    data = from_config("dataset=yolo", "dataset.root=parts")
    again = pickle.loads(pickle.dumps(data))
    assert again.mask("images/train/a").equal(yolo().mask("images/train/a"))
