"""Folders of images and masks: pairs, classes, codings, splits, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrun.data.sets.camvid import CamVid
from segrun.data.sets.folder import Folder
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

Writer = Callable[..., Path]
ABC = ("a", "b", "c", "d")


def folder(
    root: Path | str | None,
    classes: Sequence[str] | Mapping[str, Sequence[int]] | None = ("ground", "square"),
    masks: str = "auto",
    ignore_index: int = 255,
    allow_unpaired: bool = False,
) -> Folder:
    data = Folder(root and str(root), classes, masks, ignore_index, allow_unpaired)
    data.check()
    return data


def put(path: Path | str, values: object = 0, size: tuple[int, int] = (4, 5)) -> Path:
    """An image file whose pixels are `values`, broadcast to `size` where they are one number."""
    array = np.asarray(values, np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array if array.ndim > 1 else np.full(size, array, np.uint8)).save(path)
    return Path(path)


def pairs(names: Sequence[str] = ABC, mask: object = 0, root: str = "data") -> Path:
    for name in names:
        put(f"{root}/images/{name}.png", 9, np.asarray(mask).shape[:2] or (4, 5))
        put(f"{root}/masks/{name}.png", mask)
    return Path(root)


def test_pairs_are_found_by_stem_in_mixed_formats_and_subfolders() -> None:
    for image, mask in (("a.jpg", "a.png"), ("b.TIF", "b.bmp"), ("x/a.png", "x/a.tif"), ("v1.2.png", "v1.2.png")):
        put(f"data/images/{image}", 100)
        put(f"data/masks/{mask}", 1)
    data = folder("data", masks="index")
    assert set(data.pairs) == {"a", "b", "x/a", "v1.2"}
    assert data.pairs["x/a"] == (Path("data/images/x/a.png"), Path("data/masks/x/a.tif"))
    for name in data.pairs:
        sample = data.sample(name)
        assert sample.image.unique().tolist() == [100] and sample.mask.unique().tolist() == [1]


@pytest.mark.parametrize(
    "root", ["two words", "a=b", "(2)", "fünf Größen", "写真", "a,b", "{x}[y]", "it's 100%", "~tilde"]
)
def test_any_path_will_do(root: str, folder_data: Writer) -> None:
    data = folder(folder_data(4, root=root))
    assert data.sample("p00").image.shape == (3, 48, 64)


@pytest.mark.parametrize("name", ["two words", "a=b", "p(2)", "Grün", "写真", "x.y z"])
def test_any_file_name_will_do(name: str) -> None:
    assert folder(pairs([name, *ABC])).sample(name).name == name


def test_images_without_a_mask_are_refused_with_their_number(folder_data: Writer) -> None:
    root = folder_data(6)
    for name in ("p01", "p04"):
        (root / "masks" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"images: 2 images without a mask: p01, p04"):
        folder(root)


def test_masks_without_an_image_are_refused_with_their_number(folder_data: Writer) -> None:
    root = folder_data(6)
    (root / "images" / "p03.png").unlink()
    with pytest.raises(DataError, match=r"masks: 1 masks without an image: p03"):
        folder(root)


def test_what_is_left_out_when_allowed_is_counted(folder_data: Writer) -> None:
    root = folder_data(7)
    (root / "masks" / "p01.png").unlink()
    (root / "images" / "p03.png").unlink()
    (root / "images" / "readme.txt").write_text("hello")
    data = folder(root, allow_unpaired=True)
    assert len(data.pairs) == 5
    notes = "\n".join(data.notes)
    assert "1 images without a mask: p01. These are left out." in notes and "1 masks without an image: p03" in notes
    assert "1 files in images/ that are not images" in notes


def test_nothing_paired_at_all_is_refused() -> None:
    put("data/images/a.png")
    put("data/masks/b.png")
    with pytest.raises(DataError, match="no pair of image and mask"):
        folder("data", allow_unpaired=True)


def test_hidden_files_and_folders_are_no_data(folder_data: Writer) -> None:
    root = folder_data(4)
    put(root / "images" / ".hidden.png")
    put(root / "images" / ".ipynb_checkpoints" / "p00-checkpoint.png")
    assert len(folder(root).pairs) == 4


def test_a_hidden_folder_above_the_data_does_not_hide_it(folder_data: Writer) -> None:
    assert len(folder(folder_data(4, root=".cache/data")).pairs) == 4


def test_a_stem_that_is_there_twice_is_refused(folder_data: Writer) -> None:
    root = folder_data(4)
    put(root / "images" / "p02.jpg")
    with pytest.raises(DataError, match=r"p02\.jpg and p02\.png share a name"):
        folder(root)


def test_missing_folders_are_named(folder_data: Writer) -> None:
    with pytest.raises(RequestError, match=r"dataset\.root has no value"):
        folder(None)
    with pytest.raises(RequestError, match=r"dataset\.root=nowhere: there is no such folder"):
        folder("nowhere")
    root = folder_data(4)
    shutil.rmtree(root / "masks")
    with pytest.raises(RequestError, match=r"masks: there is no such folder"):
        folder(root)


def test_a_home_that_is_nobodys_is_refused() -> None:
    with pytest.raises(RequestError, match=r"dataset\.root=~nobody-of-that-name/x: there is no such folder"):
        folder("~nobody-of-that-name/x")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "ground\n\nbig square\n"),
        ("classes.txt", "ground\r\nbig square\r\n"),
        ("classes.yaml", "[ground, big square]"),
        ("classes.txt", "ground 0 0 0\nbig square 9,8,7\n"),
        ("classes.yaml", "ground: [0, 0, 0]\nbig square: [9, 8, 7]\n"),
    ],
)
def test_classes_come_from_a_file(file: str, text: str, folder_data: Writer) -> None:
    root = folder_data(4)
    (root / file).write_bytes(text.encode())
    classes = folder(root, None).classes
    assert classes.names == ("ground", "big square")
    assert classes.palette == ((0, 0, 0), (9, 8, 7) if "8" in text else (128, 0, 0))


def test_a_byte_order_mark_is_no_part_of_a_class(folder_data: Writer) -> None:
    root = folder_data(4)
    (root / "classes.txt").write_text("grün\nsquare\n", encoding="utf-8-sig")
    assert folder(root, None).classes.names == ("grün", "square")


def test_the_config_outranks_the_files(folder_data: Writer) -> None:
    root = folder_data(4)
    (root / "classes.txt").write_text("one\ntwo\nthree\n")
    assert folder(root, ["ground", "square"]).classes.names == ("ground", "square")


def test_unknown_classes_are_asked_for(folder_data: Writer) -> None:
    with pytest.raises(RequestError, match=r"the classes are not known.*dataset\.classes="):
        folder(folder_data(4), None)


@pytest.mark.parametrize("classes", [["one"], ["a", "b", "a"], [f"c{i}" for i in range(256)]])
def test_one_class_or_the_same_twice_or_too_many_are_refused(classes: list[str], folder_data: Writer) -> None:
    with pytest.raises(RequestError, match=rf"{len(classes)} classes .*Give 2 to 255 different ones"):
        folder(folder_data(4), classes)


def test_the_same_class_twice_with_colours_is_refused(folder_data: Writer) -> None:
    root = folder_data(4)
    (root / "classes.txt").write_text("sky 0 0 0\ncar 1 1 1\ncar 2 2 2\n")
    with pytest.raises(RequestError, match=r"3 classes .*Give 2 to 255 different ones"):
        folder(root, None)


@pytest.mark.parametrize("text", ["ground", "5", "{a: , b: }", "{a: red, b: blue}", "{names: [a, b], n: 2}"])
def test_a_classes_file_of_another_shape_is_refused(text: str, folder_data: Writer) -> None:
    root = folder_data(4)
    (root / "classes.yaml").write_text(text)
    with pytest.raises(RequestError, match=r"a list of names, or name: \[r, g, b\]"):
        folder(root, None)


def test_a_classes_file_that_is_no_yaml_is_refused(folder_data: Writer) -> None:
    root = folder_data(4)
    (root / "classes.yaml").write_text("[a, b")
    with pytest.raises(RequestError, match=r"classes\.yaml: is not YAML"):
        folder(root, None)


@pytest.mark.parametrize("colours", [{"a": [0, 0, 0], "b": [0, 0, 0]}, {"a": [0, 0, 0], "b": [0, 300, 0]}])
def test_colours_that_cannot_tell_classes_apart_are_refused(colours: dict[str, list[int]]) -> None:
    with pytest.raises(RequestError, match="colours"):
        folder(pairs(), colours, "colour")


def test_index_masks_are_kept_and_the_ignored_value_is_void() -> None:
    data = folder(pairs(mask=[[0, 1, 2], [2, 9, 9]]), ["x", "y", "z"], ignore_index=9)
    assert data.mask("a").tolist() == [[0, 1, 2], [2, VOID, VOID]]
    assert any("understood as index" in note for note in data.notes)


def test_binary_masks_are_recognised(folder_data: Writer) -> None:
    data = folder(folder_data(4, high=255))
    assert data.mask("p00").unique().tolist() == [0, 1]
    assert any("understood as binary" in note for note in data.notes)


def test_255_is_void_where_a_1_shows_that_masks_are_indices(folder_data: Writer) -> None:
    root = folder_data(4, high=255)
    put(root / "masks" / "p03.png", 1, (48, 64))
    assert folder(root).mask("p00").unique().tolist() == [0, VOID]


def test_colour_masks_are_recognised() -> None:
    mask = [[[0, 0, 0], [255, 0, 0]], [[0, 0, 255], [255, 255, 255]]]
    data = folder(pairs(mask=mask), {"x": [0, 0, 0], "y": [255, 0, 0], "z": [0, 0, 255]})
    assert data.mask("a").tolist() == [[0, 1], [2, VOID]]


def test_palette_masks_are_indices() -> None:
    root = pairs()
    for name in ABC:
        image = Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)).convert("P")
        image.putpalette(list(range(256)) * 3)
        image.save(root / "masks" / f"{name}.png")
    assert folder(root, ["x", "y", "z"]).mask("a").tolist() == [[0, 1, 2, VOID]]


def test_an_unknown_coding_is_refused(folder_data: Writer) -> None:
    with pytest.raises(RequestError, match=r"dataset\.masks=rgb: must be one of auto, index, colour, binary"):
        from_config("dataset=folder", f"dataset.root={folder_data(4)}", "dataset.masks=rgb")


def test_a_value_outside_the_classes_is_named_with_file_and_count() -> None:
    data = folder(pairs(mask=[[0, 1, 7, 7]]))
    with pytest.raises(DataError, match=r"b\.png: values outside the 2 classes: 7 \(2 pixels\)"):
        data.mask("b")


def test_an_image_and_mask_of_different_sizes_are_named() -> None:
    root = pairs()
    put(root / "masks" / "c.png", 0, (4, 6))
    with pytest.raises(DataError, match="c: the image is 5×4, its mask 6×4"):
        folder(root).sample("c")


def test_split_folders_are_the_split() -> None:
    for split, names in (("train", "ab"), ("val", "a"), ("test", "cd")):
        pairs(names, root=f"data/{split}")
    data = folder("data")
    assert data.splits == {"train": ("train/a", "train/b"), "val": ("val/a",), "test": ("test/c", "test/d")}


@pytest.mark.parametrize("splits", [("train", "val"), ("test",)])
def test_split_folders_may_be_fewer(splits: tuple[str, ...]) -> None:
    for split in splits:
        pairs(root=f"data/{split}")
    assert tuple(folder("data").splits) == splits


def camvid(**values: object) -> Path:
    for split in ("train", "val", "test"):
        put(f"camvid/{split}/0001.png", 50, (2, 3))
        put(f"camvid/{split}annot/0001.png", values.get(split, [[0, 1, 10], [11, 11, 4]]))
    return Path("camvid")


def test_camvid_takes_segnets_folders_and_11_as_void() -> None:
    data = CamVid(str(camvid()))
    assert {split: tuple(names) for split, names in data.splits.items()} == {
        split: (f"{split}/0001",) for split in ("train", "val", "test")
    }
    assert len(data.classes) == 11 and data.classes.names[3] == "road"
    assert data.sample("val/0001").mask.tolist() == [[0, 1, 10], [VOID, VOID, 4]]


def test_camvid_does_with_the_splits_that_are_there() -> None:
    root = camvid()
    for split in ("train", "val"):
        shutil.rmtree(root / split)
    assert set(CamVid(str(root)).splits) == {"test"}


def test_camvid_names_a_value_that_is_none_of_its_classes() -> None:
    data = CamVid(str(camvid(val=[[12, 0, 0], [0, 0, 0]])))
    with pytest.raises(DataError, match=r"valannot/0001\.png: values outside the 11 classes: 12 \(1 pixels\)"):
        data.mask("val/0001")
