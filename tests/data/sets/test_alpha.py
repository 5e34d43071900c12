"""Alpha channels as masks: which pixels, which files, which background."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segrun.data.sets.alpha import Alpha
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

RAMP = np.array([[0, 25, 26, 127, 128, 229, 230, 255]], np.uint8)


def colourful(height: int = 1, width: int = 8) -> NDArray[np.uint8]:
    """(H, W, 3), no colour twice in a row."""
    return (np.arange(height * width * 3) * 7 % 251).astype(np.uint8).reshape(height, width, 3)


def put(path: str, alpha: NDArray[np.uint8] = RAMP, colours: NDArray[np.uint8] | None = None, **how: Any) -> Path:
    colours = colourful(*alpha.shape) if colours is None else colours
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.dstack((colours, alpha))).save(path, **how)
    return Path(path)


def portraits(
    root: str = "data", threshold: float = 0.5, void: Sequence[float] | None = None, backgrounds: str | None = None,
    classes: Sequence[str] = ("background", "person"),
) -> Alpha:  # fmt: skip
    return Alpha(root, classes, threshold, void, backgrounds)


def test_what_is_opaque_enough_is_the_second_class() -> None:
    put("data/a.png")
    assert portraits().mask("a").tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert portraits(threshold=0.1).mask("a").tolist() == [[0, 0, 1, 1, 1, 1, 1, 1]]
    assert portraits(threshold=1.0).mask("a").tolist() == [[0, 0, 0, 0, 0, 0, 0, 1]]


def test_what_is_half_transparent_is_void_where_asked() -> None:
    put("data/a.png")
    v = VOID
    assert portraits(void=[0.1, 0.9]).mask("a").tolist() == [[0, 0, v, v, v, v, 1, 1]]
    assert portraits(void=[0, 1]).mask("a").tolist() == [[0, v, v, v, v, v, v, 1]]


@pytest.mark.parametrize(("suffix", "how"), [("png", {}), ("webp", {"lossless": True, "exact": True}), ("tif", {})])
def test_colours_are_as_stored_also_where_nothing_is_seen(suffix: str, how: dict[str, Any]) -> None:
    put(f"data/a.{suffix}", **how)
    assert (portraits().image("a").permute(1, 2, 0).numpy() == colourful()).all()
    assert portraits().mask("a").tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]


def test_palettes_and_grey_images_with_transparency_are_read_too() -> None:
    Path("data").mkdir()
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.save("data/p.png", transparency=0)
    Image.fromarray(np.array([[[10, 0], [20, 255]]], np.uint8), "LA").save("data/l.png")
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save("data/t.png", transparency=(1, 2, 3))
    data = portraits()
    for name, last in (("p", [50, 60, 70]), ("l", [20, 20, 20]), ("t", [4, 5, 6])):
        assert data.mask(name).tolist() == [[0, 1]]
        assert data.image(name)[:, 0, 1].tolist() == last


def test_an_image_that_was_turned_keeps_its_mask() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    put("data/a.png", exif=turned)
    assert portraits().mask("a").tolist() == [[0], [0], [0], [0], [1], [1], [1], [1]]
    assert portraits().image("a").shape == (3, 8, 1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_file_without_alpha_is_refused_by_name(suffix: str) -> None:
    Path("data").mkdir()
    Image.fromarray(colourful()).save(f"data/a.{suffix}")
    for read in (portraits().mask, portraits().image):
        with pytest.raises(DataError, match=rf"data/a\.{suffix}: has no alpha channel \(RGB\).*dataset=folder"):
            read("a")


def test_images_lie_in_root_or_in_images_or_in_splits() -> None:
    put("one/x/a.png")
    put("two/images/x/a.png")
    put("three/train/a.png")
    put("three/val/images/a.png")
    assert portraits("one").names == portraits("two").names == ("x/a",)
    assert portraits("three").splits == {"train": ("train/a",), "val": ("val/a",)}
    assert portraits("three").files("val/a") == (Path("three/val/images/a.png"),)
    assert not portraits("one").splits


def test_two_files_of_one_name_and_no_file_are_refused() -> None:
    put("data/a.png")
    put("data/a.webp")
    with pytest.raises(DataError, match=r"a\.png and a\.webp share a name"):
        portraits().check()
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"^empty: no image there"):
        portraits("empty")


def test_a_cut_out_that_gives_its_mask_away_is_told() -> None:
    put("cut/a.png", colours=np.where(RAMP[..., None] > 0, colourful(), 0).astype(np.uint8))
    assert portraits("cut").notes == []  # one transparent pixel in a row of eight is all there is
    put("out/a.png", np.repeat(RAMP, 2, 0), np.where(np.repeat(RAMP, 2, 0)[..., None] > 0, colourful(2), 5))
    (note,) = portraits("out").notes
    assert note.startswith("a: is of one colour (5, 5, 5) wherever alpha is 0") and "dataset.backgrounds" in note
    put("kept/a.png", np.repeat(RAMP, 2, 0))
    put("opaque/a.png", np.full((2, 2), 255, np.uint8))
    assert not portraits("kept").notes and not portraits("opaque").notes


def test_photographs_are_laid_under_by_alpha() -> None:
    alpha = np.array([[0, 51, 255, 0]] * 2, np.uint8)
    put("data/a.png", alpha, np.full((2, 4, 3), 100, np.uint8))
    Path("photos").mkdir()
    Image.fromarray(np.full((30, 70, 3), 200, np.uint8)).save("photos/p.jpg", quality=100)
    data = portraits(backgrounds="photos")
    assert data.image("a").tolist() == [[[200, 180, 100, 200]] * 2] * 3
    assert data.files("a") == (Path("data/a.png"), Path("photos/p.jpg"))
    assert (data.mask("a") == portraits().mask("a")).all() and not data.notes


def test_a_photograph_covers_the_image_and_is_the_same_one_each_time() -> None:
    for name in "abcdefgh":
        put(f"data/{name}.png", np.zeros((4, 4), np.uint8))
    Path("photos").mkdir()
    for value in (10, 20, 30):
        photo = np.zeros((8, 40, 3), np.uint8)
        photo[:, 16:24] = value  # all that the centre shows
        Image.fromarray(photo).save(f"photos/{value}.png")
    data = portraits(backgrounds="photos")
    shown = [data.image(name)[0, 2, 1:3].unique().tolist() for name in data.names]
    assert all(len(values) == 1 for values in shown) and len({values[0] for values in shown}) > 1
    again = pickle.loads(pickle.dumps(data))
    assert shown == [again.image(name)[0, 2, 1:3].unique().tolist() for name in again.names]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"void": [0.6, 0.9]}, r"dataset\.void=\[0\.6,0\.9\] dataset\.threshold=0\.5"),
        ({"classes": ("a", "b", "c")}, r"dataset\.classes: alpha distinguishes two classes, not 3"),
        ({"backgrounds": "nowhere"}, r"dataset\.backgrounds=nowhere: there is no image"),
        ({"root": "nowhere"}, r"dataset\.root=nowhere"),
    ],
)
def test_what_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    put("data/a.png")
    with pytest.raises(RequestError, match=message):
        portraits(**changed)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("threshold=0", r"dataset\.threshold=0: must be a number above 0 and at most 1"),
        ("threshold=1.5", r"dataset\.threshold=1\.5: must be a number above 0 and at most 1"),
        ("void=[0.1]", r"dataset\.void=\[0\.1\]: must be a list, each entry a number from 0 to 1"),
        ("void=[0.1,1.2]", r"dataset\.void=\[0\.1,1\.2\]: must be a list, each entry a number from 0 to 1"),
    ],
)
def test_numbers_outside_their_range_are_refused(word: str, message: str) -> None:
    put("data/a.png")
    with pytest.raises(RequestError, match=message):
        from_config("dataset=alpha", "dataset.root=data", f"dataset.{word}")
