"""Image and mask files of every kind are read right, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segrun.data.read.images import decode_mask, mask_values, open_image, read_image
from segrun.errors import DataError
from segrun.types import VOID, ClassMap

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)
CLASSES = ClassMap.of({"sky": [0, 0, 0], "road": [255, 0, 0], "car": [0, 128, 255]})


def saved(array: np.ndarray, name: str, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(name, **options)
    return Path(name)


def decoded(values: list[list[int]], coding: str = "index", ignore: int = 255) -> list[list[int]]:
    found = decode_mask(np.array(values), Path("m.png"), CLASSES, coding, ignore)
    assert found.dtype == torch.uint8
    return found.tolist()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_formats_give_the_very_pixels(suffix: str) -> None:
    image = read_image(saved(COLOURS, f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {})))
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0), COLOURS)


def test_grey_is_repeated() -> None:
    assert np.array_equal(read_image(saved(RAMP, "x.png")), np.stack([RAMP] * 3))


def test_alpha_is_dropped_and_the_colours_below_it_stay() -> None:
    array = np.dstack([COLOURS, np.full((3, 4), 7, np.uint8)])
    assert np.array_equal(read_image(saved(array, "x.png")).permute(1, 2, 0), COLOURS)


def test_grey_with_alpha_is_grey() -> None:
    image = Image.merge("LA", (Image.fromarray(RAMP), Image.new("L", (4, 3), 9)))
    image.save("x.png")
    assert np.array_equal(read_image(Path("x.png")), np.stack([RAMP] * 3))


@pytest.mark.parametrize("transparent", [None, 1])
def test_a_palette_is_looked_up(transparent: int | None) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    image.save("x.png", **({} if transparent is None else {"transparency": transparent}))
    found = read_image(Path("x.png")).permute(1, 2, 0).tolist()
    assert found == [[[10, 20, 30], [200, 100, 50]], [[1, 2, 3], [200, 100, 50]]]


def test_one_bit_is_black_and_white() -> None:
    path = saved(np.array([[0, 255], [255, 0]], np.uint8), "x.png", "1")
    assert read_image(path)[1].tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_precision(suffix: str) -> None:
    array = np.array([[0, 1], [300, 65535]], np.uint16)
    image = read_image(saved(array, f"x.{suffix}"))
    assert image.dtype == torch.float32 and image.shape == (3, 2, 2)
    assert np.array_equal((image * 65535).round()[2], array)


def test_floats_are_taken_as_they_are() -> None:
    array = np.array([[0, 0.25], [0.5, 1]], np.float32)
    assert np.array_equal(read_image(saved(array, "x.tif"))[0], array)


@pytest.mark.parametrize("value", [-0.1, 1.5, 255, float("nan"), float("inf")])
def test_floats_beyond_0_to_1_are_refused(value: float) -> None:
    path = saved(np.array([[0, value]], np.float32), "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: values reach outside 0…1"):
        read_image(path)


def test_integers_beyond_16_bits_are_refused() -> None:
    path = saved(np.array([[0, 70000]], np.int32), "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: values reach outside 0…65535"):
        read_image(path)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, RAMP), (2, RAMP[:, ::-1]), (3, RAMP[::-1, ::-1]), (6, np.rot90(RAMP, -1)), (8, np.rot90(RAMP))],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_rotation_is_carried_out(
    orientation: int, upright: np.ndarray, suffix: str, kind: type[np.number]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(RAMP.astype(kind), f"x.{suffix}", exif=exif)
    assert np.array_equal(mask_values(path), upright)
    assert np.array_equal((read_image(path)[0] * (1 if kind is np.uint8 else 65535)).round(), upright)


def test_exif_rotation_of_colours_is_carried_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(COLOURS, "x.tif", exif=exif)
    assert np.array_equal(read_image(path).permute(1, 2, 0), np.rot90(COLOURS, -1))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"gone\.png: there is no such file"):
        open_image(Path("gone.png"))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_image_is_named(content: bytes) -> None:
    Path("x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image \(.+\)"):
        read_image(Path("x.png"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_truncated_file_is_named(suffix: str) -> None:
    path = saved(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), f"x.{suffix}")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=rf"x\.{suffix}: cannot be read as an image"):
        read_image(path)


def test_a_picture_of_absurd_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(RAMP, "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image \(.*12 pixels"):
        read_image(path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_a_grey_mask_is_read_as_indices_in_any_mode(mode: str) -> None:
    path = saved(np.array([[0, 1], [2, 255]], np.uint8), "m.png", mode)
    assert mask_values(path).tolist() == [[0, 1], [2, 255]]


def test_a_palette_mask_is_read_as_indices() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save("m.png")
    assert mask_values(Path("m.png")).tolist() == [[0, 1], [2, 1]]


def test_a_one_bit_mask_is_read_as_0_and_1() -> None:
    path = saved(np.array([[0, 255]], np.uint8), "m.png", "1")
    assert mask_values(path).tolist() == [[0, 1]]


def test_a_16_bit_mask_keeps_its_values() -> None:
    path = saved(np.array([[0, 2, 1000]], np.uint16), "m.png")
    assert mask_values(path).tolist() == [[0, 2, 1000]]


def test_a_mask_of_floats_is_refused() -> None:
    path = saved(np.zeros((2, 2), np.float32), "m.tif")
    with pytest.raises(DataError, match=r"m\.tif: a mask of floats"):
        mask_values(path)


def test_indices_are_kept_and_the_ignored_value_becomes_void() -> None:
    assert decoded([[0, 1, 2, 255]]) == [[0, 1, 2, VOID]]
    assert decoded([[0, 11, 2]], ignore=11) == [[0, VOID, 2]]


def test_binary_masks_are_0_and_255() -> None:
    assert decoded([[0, 255, 255]], "binary") == [[0, 1, 1]]
    assert decoded([[0, 255, 7]], "binary", ignore=7) == [[0, 1, VOID]]


def test_colours_become_their_classes() -> None:
    assert decoded([[[0, 0, 0], [0, 128, 255], [255, 0, 0], [255, 255, 255]]], "colour") == [[0, 2, 1, VOID]]


def test_a_mask_of_one_grey_colour_is_still_in_colours() -> None:
    assert decoded([[0, 0, 255]], "colour") == [[0, 0, VOID]]


def test_values_outside_the_classes_are_named_and_counted() -> None:
    with pytest.raises(DataError, match=r"m\.png: values outside the 3 classes: 3 \(2 pixels\), 77 \(1 pixels\)"):
        decoded([[0, 3, 3, 77]])


def test_colours_outside_the_classes_are_named_and_counted() -> None:
    with pytest.raises(DataError, match=r"m\.png: .*: #00ff01 \(2 pixels\)"):
        decoded([[[0, 255, 1], [0, 255, 1], [0, 0, 0]]], "colour")


def test_colours_where_indices_are_expected_are_refused() -> None:
    with pytest.raises(DataError, match=r"m\.png: a mask in colours.*dataset\.masks=colour"):
        decoded([[[0, 255, 1]]], "index")


def test_a_negative_value_may_be_the_one_that_is_ignored() -> None:
    values = np.array([[-1, 0, 1], [2, 2, -1]])
    decoded = decode_mask(values, Path("m.tif"), ClassMap.of(["a", "b", "c"]), "index", -1)
    assert decoded.tolist() == [[VOID, 0, 1], [2, 2, VOID]]
