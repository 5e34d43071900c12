"""Images and masks that people really have: linked folders, turned photographs, palettes, mixed and dark files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segrun
from segrun.commands import evaluate
from segrun.config.compose import compose
from segrun.data.sets.folder import Folder
from segrun.errors import DataError
from tests.commands.test_train import command
from tests.conftest import QUICK
from tests.data.scan.test_checks import drawn

Writer = Callable[..., Path]
CLASSES = "dataset.classes=[ground,square]"
SMALL = [word for word in QUICK if not word.startswith("dataset.")]
ROUGH = ["strategy=scratch", "trainer.epochs=1", "trainer.batch_size=2", "trainer.workers=0", "output=runs"]
SPLIT = ["split.train=0.5", "split.val=0.25", "split.test=0.25"]


def folder(root: Path, *words: str) -> list[str]:
    return ["dataset=folder", f"dataset.root={root}", CLASSES, *words]


def findings(root: Path, *words: str) -> Mapping[str, dict[str, object]]:
    """What `segrun check` finds, by rule."""
    command("check", *folder(root, *words), "samples=0", "preview=0")
    (report,) = Path("outputs").glob("check/*/*/findings.json")
    found = json.loads(report.read_text())["findings"]
    report.unlink()
    return {finding["rule"]: finding for finding in found}


def turn(path: Path, orientation: int) -> None:
    """Note an orientation in a JPEG file without touching its pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, "JPEG", quality="keep", exif=exif)


def test_a_set_of_0_1_and_0_255_is_refused_with_both_groups(folder_data: Writer) -> None:
    root = folder_data(14)
    for path in sorted((root / "masks").iterdir())[:4]:
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    text = (
        "4 masks hold 0 and 255 (p00), 10 hold 0 and 1 (p04). Save all of them in one way, or set dataset.masks=index"
    )
    finding = findings(root)["mixed_masks"]
    assert finding["severity"] == "error" and str(finding["text"]).startswith(text)
    with pytest.raises(DataError, match="4 masks hold 0 and 255"):
        segrun.train([*SMALL, *ROUGH, *folder(root)])
    assert "mixed_masks" not in findings(root, "dataset.masks=index")


@pytest.mark.slow
def test_eval_refuses_a_mixed_set_too(folder_data: Writer) -> None:
    run = segrun.train([*SMALL, *ROUGH, *SPLIT, *folder(folder_data(8))]).checkpoint
    root = folder_data(6, root="other")
    for path in sorted((root / "masks").iterdir())[:4]:
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    with pytest.raises(DataError, match=r"4 masks hold 0 and 255 \(p00\), 2 hold 0 and 1 \(p04\)"):
        evaluate.run(compose("eval", [f"checkpoint={run}", *folder(root)]))


def test_255_beside_0_and_1_in_one_mask_means_no_label(folder_data: Writer) -> None:
    root = folder_data(14)
    for index, path in enumerate(sorted((root / "masks").iterdir())):
        mask = np.asarray(Image.open(path)).copy()
        mask[0] = 255
        if index < 4:
            mask[mask == 1] = 0
        Image.fromarray(mask).save(path)
    assert "mixed_masks" not in findings(root)


def palettes(masks: str = "auto", foreign: bool = False) -> Folder:
    """Black, red and green: in every second file red is index 2 and green is index 1."""
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]])
    for index in range(4):
        order = [0, 2, 1] if index % 2 else [0, 1, 2]
        for kind in ("images", "masks"):
            Path("data", kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 1)).save(f"data/images/{index}.png")
        mask = Image.fromarray(np.array([order], np.uint8)).convert("P")  # black, red, green, from the left
        palette = abs(colours[order] - (7 if foreign else 0))
        mask.putpalette([int(value) for value in palette.flat])
        mask.save(f"data/masks/{index}.png")
    return Folder("data", data_classes(), masks, 255, False)  # type: ignore[arg-type]


def data_classes() -> dict[str | int | bool, list[int]]:
    return {"black": [0, 0, 0], "red": [255, 0, 0], "green": [0, 255, 0]}


@pytest.mark.parametrize("masks", ["auto", "colour"])
def test_colours_are_looked_up_in_each_files_own_palette(masks: str) -> None:
    data = palettes(masks)
    assert data.coding == "colour"
    assert [data.mask(name).tolist() for name in data.names] == [[[0, 1, 2]]] * 4


def test_indices_of_a_palette_are_read_where_they_are_asked_for_or_its_colours_are_no_classes() -> None:
    for data in (palettes("index"), palettes(foreign=True)):
        assert [data.mask(name).tolist() for name in data.names] == [[[0, 1, 2]], [[0, 2, 1]]] * 2


def test_a_colour_of_a_palette_that_is_no_class_is_named() -> None:
    data = palettes()
    mask = Image.fromarray(np.array([[0, 1, 1]], np.uint8)).convert("P")
    mask.putpalette([0, 0, 0, 1, 2, 3])
    mask.save("data/masks/3.png")
    with pytest.raises(DataError, match=r"3\.png: values outside the 3 classes: .*#010203 \(2 pixels\)"):
        data.mask("3")


def test_a_colour_that_is_no_class_in_the_first_file_does_not_hide_the_palettes_of_the_others() -> None:
    data = palettes()
    mask = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    mask.putpalette([0, 0, 0, 255, 0, 255, 0, 255, 0])
    mask.save("data/masks/0.png")
    data = Folder("data", data_classes(), "auto", 255, False)
    assert [data.mask(name).tolist() for name in ("1", "2", "3")] == [[[0, 1, 2]]] * 3
    with pytest.raises(DataError, match=r"0\.png: values outside the 3 classes: #ff00ff \(1 pixels\)"):
        data.mask("0")


def test_black_and_white_palettes_are_indices_although_the_classes_have_other_colours() -> None:
    data = palettes()
    for name in data.names:
        mask = Image.fromarray(np.array([[0, 1, 1]], np.uint8)).convert("P")
        mask.putpalette([0, 0, 0, 255, 255, 255])
        mask.save(f"data/masks/{name}.png")
    data = Folder("data", data_classes(), "auto", 255, False)
    assert [data.mask(name).tolist() for name in data.names] == [[[0, 1, 1]]] * 4


def test_the_ignored_index_of_a_palette_has_no_label() -> None:
    data = palettes()
    mask = Image.fromarray(np.array([[0, 2, 255]], np.uint8)).convert("P")
    palette = np.full((256, 3), 9)
    palette[:3] = [[0, 0, 0], [0, 255, 0], [255, 0, 0]]
    mask.putpalette(palette.ravel().tolist())
    mask.save("data/masks/3.png")
    assert data.mask("3").tolist() == [[0, 1, 255]]


def linked(root: Path) -> Path:
    """Move the images and masks from p05 on to a store, and link to it; a second link leads back."""
    for kind in ("images", "masks"):
        store = root.parent / "store" / "B" / kind
        store.mkdir(parents=True)
        for path in sorted((root / kind).iterdir())[5:]:
            path.rename(store / path.name)
        (root / kind / "B").symlink_to(store)
        (store / "back").symlink_to(root / kind)
    return root


def test_linked_folders_are_followed_and_circles_end(folder_data: Writer) -> None:
    data = Folder(str(linked(folder_data(10))), ["ground", "square"], "auto", 255, False)
    assert list(data.names) == [*(f"B/p{index:02}" for index in range(5, 10)), *(f"p{index:02}" for index in range(5))]
    assert data.sample("B/p07").mask.sum() == 400


def test_a_link_to_itself_is_a_file_that_does_not_exist(folder_data: Writer) -> None:
    root = folder_data(4)
    (root / "images" / "loop").symlink_to("loop")
    assert len(Folder(str(root), ["ground", "square"], "auto", 255, False).names) == 4


def test_a_folder_that_cannot_be_listed_is_named(folder_data: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    root = folder_data(4)
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(segrun.errors.RequestError, match=r"images: cannot be listed \(Permission denied\)"):
        Folder(str(root), ["ground", "square"], "auto", 255, False)


@pytest.mark.slow
def test_linked_folders_are_checked_trained_on_and_predicted(folder_data: Writer) -> None:
    root = linked(folder_data(10))
    command("check", *folder(root), "samples=0", "preview=0")
    (report,) = Path("outputs").glob("check/*/*/findings.json")
    assert json.loads(report.read_text())["images"] == 10
    run = segrun.train([*SMALL, *ROUGH, *SPLIT, *folder(root)]).checkpoint
    split = json.loads((run.parent / "split.json").read_text())
    assert sum(len(names) for names in split.values()) == 10
    expected = sorted([f"B/p{index:02}.png" for index in range(5, 10)] + [f"p{index:02}.png" for index in range(5)])
    for output, source in (("folder", root / "images"), ("glob", root / "images" / "**" / "*.png")):
        assert command("predict", f"checkpoint={run}", f"input={source}", f"output={output}") == 0
        assert sorted(path.relative_to(output).as_posix() for path in Path(output).rglob("*.png")) == expected


def turned_data(folder_data: Writer, orientation: int = 3) -> Path:
    root = folder_data(8, suffix=".jpg")
    for index in range(0, 8, 2):
        turn(root / "images" / f"p{index:02}.jpg", orientation)
    return root


def test_turned_images_whose_masks_are_not_are_found(folder_data: Writer) -> None:
    root = turned_data(folder_data)
    finding = findings(root)["turned"]
    assert finding["names"] == ["p00", "p02", "p04", "p06"] and finding["severity"] == "warn"
    assert str(finding["text"]).startswith(
        "4 of 8 images are turned as their EXIF orientation says, their masks are not: p00, p02, p04, p06."
    )
    assert "turned" not in findings(root, "dataset.exif=ignore")


@pytest.mark.parametrize(("exif", "turns"), [("apply", 2), ("ignore", 0)])
def test_exif_decides_how_image_and_mask_are_read(folder_data: Writer, exif: str, turns: int) -> None:
    root = turned_data(folder_data)
    stored = np.asarray(Image.open(root / "images" / "p02.jpg"))
    mask = np.asarray(Image.open(root / "masks" / "p02.png"))
    data = Folder(str(root), ["ground", "square"], "auto", 255, False, exif=exif)  # type: ignore[arg-type]
    sample = data.sample("p02")
    assert np.array_equal(sample.image.permute(1, 2, 0), np.rot90(stored, turns))
    assert np.array_equal(sample.mask, mask)


def test_a_quarter_turn_that_the_masks_size_confirms_is_no_finding(folder_data: Writer) -> None:
    root = turned_data(folder_data, 6)
    assert findings(root)["size"]["names"] == findings(root)["turned"]["names"] == ["p00", "p02", "p04", "p06"]
    assert not {"size", "turned"} & findings(root, "dataset.exif=ignore").keys()
    for index in range(0, 8, 2):
        path = root / "masks" / f"p{index:02}.png"
        Image.fromarray(np.rot90(np.asarray(Image.open(path)), -1)).save(path)
    assert not {"size", "turned"} & findings(root).keys()


@pytest.mark.slow
@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_train_and_predict_turn_images_alike(
    folder_data: Writer, exif: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = turned_data(folder_data)
    run = segrun.train([*SMALL, *ROUGH, *SPLIT, *folder(root, f"dataset.exif={exif}")]).checkpoint
    assert ("4 of 8 images are turned" in " ".join(capsys.readouterr().out.split())) is (exif == "apply")
    Image.fromarray(drawn(1)[0].transpose(1, 2, 0)[:80]).save("photo.jpg")
    turn(Path("photo.jpg"), 6)
    predictor = segrun.load(run)
    with Image.open("photo.jpg") as photo:
        stored = np.asarray(photo)
        expected = predictor(np.rot90(stored, -1 if exif == "apply" else 0).copy())
        assert np.array_equal(predictor(photo), expected)
    assert command("predict", f"checkpoint={run}", "input=photo.jpg", "output=masks") == 0
    assert np.array_equal(np.asarray(Image.open("masks/photo.png")), expected)


@pytest.mark.parametrize(("highest", "found"), [(4095, True), (4096, False), (65535, False)])
def test_12_bits_in_16_are_found_with_the_cure(folder_data: Writer, highest: int, found: bool) -> None:
    root = folder_data(6)
    rng = np.random.default_rng(0)
    for path in (root / "images").iterdir():
        values = rng.integers(0, 4000, (48, 64), dtype=np.uint16)
        values[0, 0] = highest
        Image.fromarray(values).save(path)
    finding = findings(root, "dataset.channels=1").get("dark")
    assert (finding is not None) is found
    if finding is not None:
        text = str(finding["text"])
        assert text.startswith("no image has a value above 4095 of 65535") and "dataset=microscopy" in text


def test_damaged_and_wrong_masks_are_told_apart_by_kind(folder_data: Writer) -> None:
    """A file whose name speaks of what "cannot be read" is no damaged file."""
    root = folder_data(6)
    for kind in ("images", "masks"):
        (root / kind / "p01.png").rename(root / kind / "cannot be read.png")
    wrong = np.asarray(Image.open(root / "masks" / "cannot be read.png")) * np.uint8(7)
    Image.fromarray(wrong).save(root / "masks" / "cannot be read.png")
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(
        root / "masks" / "p02.png", "GIF", save_all=True, append_images=[Image.new("L", (64, 48), 1)]
    )
    found = findings(root, "dataset.masks=index")
    assert found["value"]["names"] == ["cannot be read"]
    assert found["unreadable"]["names"] == ["p02"]
