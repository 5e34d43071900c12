"""COCO-JSON: masks to the last pixel, layouts, classes, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segrun.data.scan.scan import scan_all
from segrun.data.sets.coco import Coco
from segrun.errors import DataError, MissingExtraError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

SIZE = (8, 10)
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
RECTANGLE = [2, 1, 6, 1, 6, 4, 2, 4]  # x from 2 to 6, y from 1 to 4


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Uncompressed, column by column, as CVAT writes them."""
    flat = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [1 - flat[-1]]))))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate(([0], edges))).tolist()}


def box(top: int, left: int, bottom: int, right: int) -> dict[str, Any]:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return runs(mask)


def annotation(image: int = 1, category: int = 3, segmentation: object = None, **more: object) -> dict[str, Any]:
    shape = box(1, 2, 4, 6) if segmentation is None else segmentation
    return {"id": 90, "image_id": image, "category_id": category, "segmentation": shape, "iscrowd": 0, **more}


def write(
    annotations: Sequence[Mapping[str, Any]] = (),
    file: str = "data/labels.json",
    folder: str = "data",
    images: Sequence[str] = ("a.jpg",),
    put: bool = True,
    **more: Any,
) -> Path:
    entries = [{"id": i, "file_name": name, "width": SIZE[1], "height": SIZE[0]} for i, name in enumerate(images, 1)]
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    content = {"images": entries, "annotations": list(annotations), "categories": CATEGORIES, **more}
    Path(file).write_text(json.dumps(content))
    for name in images if put else ():
        picture(Path(folder) / name.replace("\\", "/"))
    return Path("data")


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def coco(
    annotations: Any = None, images: Any = None, background: str | None = "background", crowd: str = "void"
) -> Coco:
    return Coco("data", annotations, images, background, crowd)


def test_categories_follow_the_background_in_the_order_of_their_ids() -> None:
    write([annotation(category=7)])
    data = coco()
    assert data.classes.names == ("background", "cat", "dog") and data.names == ("a",) and not data.splits
    expected = np.zeros(SIZE, int)
    expected[1:4, 2:6] = 2
    assert data.mask("a").tolist() == expected.tolist()
    assert data.sample("a").image.shape == (3, *SIZE)
    assert data.files("a") == (Path("data/a.jpg"), Path("data/labels.json"))


def test_without_a_background_what_no_annotation_covers_is_void() -> None:
    write([annotation()])
    data = coco(background=None)
    assert data.classes.names == ("cat", "dog")
    assert data.mask("a").unique().tolist() == [0, VOID] and int((data.mask("a") == 0).sum()) == 12


def test_a_category_of_the_backgrounds_name_is_the_background() -> None:
    write([annotation(), annotation(category=9, segmentation=box(0, 0, 2, 3))],
          categories=[*CATEGORIES, {"id": 9, "name": "background"}])  # fmt: skip
    data = coco()
    assert data.classes.names == ("background", "cat", "dog")
    assert int((data.mask("a") == 1).sum()) == 11  # the smaller background lies on one pixel of the cat


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_smaller_of_two_lies_on_top(order: tuple[int, int]) -> None:
    both = [annotation(category=3, segmentation=box(0, 0, 6, 6), area=1), annotation(category=7, area=50)]
    write([both[i] for i in order])  # the areas they claim are not believed
    assert np.bincount(coco().mask("a").flatten(), minlength=3).tolist() == [44, 24, 12]


def test_crowds_are_void_or_of_their_class_and_told() -> None:
    write([annotation(iscrowd=1), annotation(category=7, segmentation=box(7, 0, 8, 4))])
    data = coco()
    assert np.bincount(data.mask("a").flatten(), minlength=256)[[0, 1, 2, VOID]].tolist() == [64, 0, 4, 12]
    assert any("1 annotations are crowds (iscrowd), taken as void" in note for note in data.notes)
    assert int((coco(crowd="class").mask("a") == 1).sum()) == 12


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_through_pycocotools_runs_comes_back_whole(seed: int) -> None:
    api = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seed).integers(0, 3, SIZE)
    entries = []
    for value, category in ((1, 3), (2, 7)):
        rle = api.encode(np.asfortranarray(mask == value, np.uint8))
        packed = {"size": rle["size"], "counts": rle["counts"].decode()}
        entries.append(annotation(category=category, segmentation=packed if seed % 2 else runs(mask == value)))
    write(entries)
    assert coco().mask("a").tolist() == mask.tolist()


def test_polygons_are_pycocotools_own() -> None:
    api = pytest.importorskip("pycocotools.mask")
    parts = [[0.4, 0.6, 5.2, 1.3, 3.1, 4.9], [6, 5, 12.5, 5, 9, 9]]  # of one object; one leaves the image
    write([annotation(segmentation=parts), annotation(category=7, segmentation=[RECTANGLE])])
    mask = coco().mask("a").numpy()
    expected = api.decode(api.merge(api.frPyObjects(parts, *SIZE)))
    rectangle = np.zeros(SIZE, bool)
    rectangle[1:4, 2:6] = True
    top = rectangle if rectangle.sum() < expected.sum() else np.where(expected, False, rectangle)
    assert (mask == np.where(top, 2, expected)).all() and (mask == 2).any() and (mask == 1).any()


def test_polygons_without_pycocotools_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    write([annotation(segmentation=[RECTANGLE])])
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    monkeypatch.delitem(__import__("sys").modules, "pycocotools.mask", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'segrun\[coco\]'"):
        coco().mask("a")


def test_one_polygon_may_be_a_flat_list() -> None:
    pytest.importorskip("pycocotools")
    write([annotation(segmentation=RECTANGLE)])
    expected = np.zeros(SIZE, int)
    expected[1:4, 2:6] = 1
    assert coco().mask("a").tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "annotation 90: has no segmentation, perhaps a box"),
        ("x", "annotation 90: has no segmentation"),
        ([[1, 2, 3, 4]], "annotation 90: 2 points; 3 are needed"),
        ([RECTANGLE, [1, 2, 3, 4, 5]], "annotation 90: 5 coordinates are not pairs"),
        ([[1, 1, 900, 1, 1, 5]], r"annotation 90: the point \(900, 1\) lies far outside the image of 10×8"),
        ({"size": [10, 8], "counts": [80]}, r"annotation 90: its size is \[10, 8\], that of the image \[8, 10\]"),
        ({"size": [8, 10], "counts": [70]}, "annotation 90: its runs cover 70 pixels of 80"),
        ({"size": [8, 10]}, "annotation 90: its counts are not run lengths"),
        ({"size": [8, 10], "counts": [True, 79]}, "annotation 90: its counts are not run lengths"),
        ({"size": float("nan"), "counts": [80]}, "annotation 90: its size is nan, that of the image"),
        ([1, 2, 3, None, 5, 6], "annotation 90: points must be pairs of numbers"),
        ([[[1, 2, 3], [4, 5, 6]]], "annotation 90: points must be pairs of numbers"),
        ([RECTANGLE, 5], "annotation 90: points must be pairs of numbers|annotation 90: 1 coordinates"),
    ],
)
def test_a_segmentation_that_is_none_is_refused_by_file_and_id(segmentation: object, message: str) -> None:
    if isinstance(segmentation, list) and segmentation:
        pytest.importorskip("pycocotools")
    write([annotation(segmentation=segmentation)])
    with pytest.raises(DataError, match=rf"data/labels\.json: {message}"):
        coco().mask("a")


def test_an_image_of_another_size_than_the_json_says_is_refused() -> None:
    root = write([annotation()])
    picture(root / "a.jpg", (10, 8))
    with pytest.raises(DataError, match=r"a\.jpg: is 8×10 .*labels\.json states 10×8"):
        coco().mask("a")


def test_an_image_is_turned_before_it_is_measured() -> None:
    root = write([annotation()])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save(root / "a.jpg", exif=exif)
    assert coco().sample("a").image.shape == (3, *SIZE)


def test_images_missing_unnamed_or_bare_are_told() -> None:
    root = write([annotation()], images=("a.jpg", "sub\\b.jpg", "c.jpg"))
    (root / "c.jpg").unlink()
    picture(root / "other.png")
    data = coco()
    assert data.names == ("a", "sub/b", "c")
    assert data.problems == ["data: 1 images of labels.json are missing: c.jpg. Restore them, or remove their entries."]
    assert "left out: 1 images in data that labels.json does not list" in data.notes
    assert "2 images of labels.json have no annotation" in data.notes
    assert not data.mask("sub/b").any()


def test_a_category_that_is_not_listed_is_refused() -> None:
    write([annotation(category=99)])
    with pytest.raises(DataError, match=r"labels\.json: annotation 90: category 99 is not listed in the file"):
        coco().mask("a")


def test_annotations_of_unlisted_images_and_names_that_clash_are_problems() -> None:
    write([annotation(image=5)], images=("a.jpg", "a.png"))
    assert coco().problems == [
        "data/labels.json: annotations of images that it does not list: 5. "
        "List these images, or remove the annotations.",
        "data/a.jpg and a.png share a name. Rename one, in data/labels.json, too.",
    ]


LAYOUTS = {
    "coco": ("annotations/instances_train2017.json", "train2017", "annotations/instances_val2017.json", "val2017"),
    "cvat": ("annotations/instances_train.json", "images/train", "annotations/instances_val.json", "images/val"),
    "roboflow": ("train/_annotations.coco.json", "train", "valid/_annotations.coco.json", "valid"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_known_layouts_are_found_with_their_splits(layout: str) -> None:
    for file, folder in (LAYOUTS[layout][:2], LAYOUTS[layout][2:]):
        write([annotation()], f"data/{file}", f"data/{folder}", ("a.jpg", "b.jpg"))
    data = coco()
    assert data.splits == {"train": ("train/a", "train/b"), "val": ("val/a", "val/b")} and not data.problems
    assert data.files("val/b")[0] == Path("data", LAYOUTS[layout][3], "b.jpg")
    assert int(data.mask("train/a").sum()) == 12 and not data.mask("train/b").any()


def test_files_and_folders_can_be_named() -> None:
    for split in ("train", "val"):
        write([annotation()], f"data/{split}.json", f"data/pics/{split}")
    files = {"train": "train.json", "val": "val.json"}
    data = coco(files, {"train": "pics/train", "val": "pics/val"})
    assert data.splits == {"train": ("train/a",), "val": ("val/a",)}
    assert coco("train.json", "pics/val").names == ("a",)
    with pytest.raises(RequestError, match=r"2 JSON files in root\. Give dataset\.annotations="):
        coco()
    with pytest.raises(RequestError, match=r"none of its images is in data\. Give dataset\.images="):
        coco(files)
    with pytest.raises(RequestError, match=r"dataset\.images names train; annotations are of train, val"):
        coco(files, {"train": "pics/train"})
    with pytest.raises(RequestError, match=r"dataset\.annotations: dev: give a file for train, for val"):
        coco({"dev": "train.json"})


def test_roboflows_category_above_all_others_is_no_class() -> None:
    above = {"id": 0, "name": "pets", "supercategory": "none"}
    write([annotation()], categories=[above, *({**c, "supercategory": "pets"} for c in CATEGORIES)])
    data = coco()
    assert data.classes.names == ("background", "cat", "dog")
    assert "not a class: pets, which groups other categories and is never drawn" in data.notes
    write([annotation(category=0)], categories=[above, *({**c, "supercategory": "pets"} for c in CATEGORIES)])
    assert coco().classes.names == ("background", "pets", "cat", "dog")


def test_files_of_different_categories_are_refused() -> None:
    write([], "data/train/_annotations.coco.json", "data/train")
    write([], "data/valid/_annotations.coco.json", "data/valid", categories=CATEGORIES[:1])
    with pytest.raises(DataError, match=r"valid/_annotations\.coco\.json: its categories are not those"):
        coco()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "holds no JSON object"),
        ("{}", r"categories is missing: must be a list\. Correct the file, or export it again"),
        ('{"categories": [], "annotations": [{}], "images": []}', r"annotations\[0\]\.image_id is missing"),
        ('{"categories": [], "annotations": [[]], "images": []}', r"annotations\[0\]\.image_id is missing"),
        ('{"categories": [], "annotations": null, "images": []}', "annotations=null: must be a list"),
        ('{"categories": [], "annotations": [], "images": [{"id": 1}]}', r"images\[0\]\.file_name is missing"),
        (
            '{"categories": [], "annotations": [], "images": [{"file_name": 5}]}',
            r"images\[0\]\.file_name=5: must be",
        ),
        (
            '{"categories": [], "annotations": [{"image_id": 1, "category_id": 1, "iscrowd": "0"}], "images": []}',
            r"annotations\[0\]\.iscrowd='0': must be 0 or 1",
        ),
        ("[" * 50_000, r"cannot be read as JSON \(maximum recursion depth exceeded"),
        ('{"categories": [], "annotations": [], "images": []}', "lists no image"),
    ],
)
def test_a_file_that_is_no_coco_json_is_named(text: str, message: str) -> None:
    write([])
    Path("data/labels.json").write_text(text)
    with pytest.raises(DataError, match=rf"data/labels\.json: {message}"):
        coco()


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ({"id": 7, "name": None}, r"categories\[1\]\.name=null: must be text or a number"),
        ({"id": 7, "name": False}, r"categories\[1\]\.name=False: must be text or a number"),
        ({"id": 7.5, "name": "a"}, r"categories\[1\]\.id=7\.5: must be a whole number"),
        ({"id": float("nan"), "name": "a"}, r"categories\[1\]\.id=nan: must be a whole number"),
        ({"id": "x", "name": "a"}, r"categories\[1\]\.id='x': must be a whole number"),
        ({"id": 3, "name": "a"}, r"categories\[1\]\.id=3: an earlier category has it"),
        ({"id": 7}, r"categories\[1\]\.name is missing"),
        (7, r"categories\[1\]\.id is missing"),
    ],
)
def test_a_category_that_is_none_is_refused(category: object, message: str) -> None:
    write([annotation()], categories=[{"id": 3, "name": "cat"}, category])
    with pytest.raises(DataError, match=rf"data/labels\.json: {message}"):
        coco()


def test_category_names_are_taken_as_they_are_written() -> None:
    names = ["no", "off", "null", 7]
    write([annotation()], categories=[{"id": index, "name": name} for index, name in enumerate(names, 3)])
    assert coco().classes.names == ("background", "no", "off", "null", "7")


def test_json_that_is_not_utf8_is_named() -> None:
    root = write([annotation()])
    (root / "labels.json").write_bytes('{"images": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"data/labels\.json: cannot be read as JSON \('utf-8' codec can't decode"):
        coco()


@pytest.mark.parametrize("name", ["../secret.jpg", "..\\secret.jpg", "{here}/secret.jpg"])
def test_images_outside_the_root_are_read_only_where_that_is_allowed(name: str, tmp_path: Path) -> None:
    name = name.format(here=tmp_path)
    write([annotation(), annotation(image=2)], images=("a.jpg", name))
    assert Path("secret.jpg").is_file()
    data = coco()
    assert data.names == ("a",)
    assert data.problems == [
        f"data/labels.json: names {name.replace(chr(92), '/')}, which is outside dataset.root. Move it into root, or, "
        "if you trust the origin of this file: dataset.allow_outside=true."
    ]
    data = from_config("dataset=coco", "dataset.root=data", "dataset.allow_outside=true")
    assert len(data.names) == 2 and int(data.mask(data.names[1]).sum()) == 12
    write([annotation()], images=(name,))
    with pytest.raises(DataError, match=r"labels\.json: names .*secret\.jpg, which is outside dataset\.root"):
        coco()


def test_paths_within_the_root_links_in_it_and_the_folder_of_the_images_are_inside(tmp_path: Path) -> None:
    write([annotation()], "data/notes/labels.json", "data", ("pics/../linked/a.jpg",))
    Path("data/linked").rename("store")
    Path("data/linked").symlink_to(tmp_path / "store")
    data = coco("notes/labels.json")
    assert not data.problems and int(data.mask(data.names[0]).sum()) == 12
    picture(Path("store/sub/a.jpg"))
    write([annotation()], "data/notes/labels.json", images=("a.jpg",), put=False)
    elsewhere = coco("notes/labels.json", "../store/sub")
    assert not elsewhere.problems and elsewhere.files("a")[0] == Path("store/sub/a.jpg")


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "nul\0.jpg", "half\ud800.jpg", "", ".", ".."])
def test_names_that_no_file_can_have_are_a_problem(name: str) -> None:
    write([annotation()], images=("a.jpg", name), put=False)
    picture(Path("data/a.jpg"))
    data = coco()
    (problem,) = data.problems
    assert "1 images of labels.json are missing" in problem or "which is outside dataset.root" in problem
    first, *others = scan_all(data, data.names).records
    assert not first.problem and int(data.mask("a").sum()) == 12
    assert all("cannot be read" in record.problem or "no such file" in record.problem for record in others)


def test_an_unknown_word_for_crowds_is_refused() -> None:
    with pytest.raises(RequestError, match=r"dataset\.crowd=skip: must be one of void, class"):
        from_config("dataset=coco", "dataset.root=data", "dataset.crowd=skip")


def test_it_is_built_from_its_yaml_and_goes_to_other_processes() -> None:
    write([annotation()])
    data = from_config("dataset=coco", "dataset.root=data")
    assert pickle.loads(pickle.dumps(data)).mask("a").equal(data.mask("a"))
