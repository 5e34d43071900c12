"""Mask files of every kind are read correctly, and values that are no class are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segrun.data.read.masks import decode_mask, read_mask_values
from segrun.errors import DataError
from segrun.types import VOID, ClassMap

CLASSES = ClassMap.of({"sky": [0, 0, 0], "road": [255, 0, 0], "car": [0, 128, 255]})


def saved(array: np.ndarray, name: str, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(name)
    return Path(name)


def decoded(values: list[list[int]], coding: str = "index", ignore: int = 255) -> list[list[int]]:
    mask = decode_mask(np.array(values), Path("m.png"), CLASSES, coding, ignore)
    assert mask.dtype == torch.uint8
    return mask.tolist()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_a_grey_mask_is_read_as_indices_in_any_mode(mode: str) -> None:
    path = saved(np.array([[0, 1], [2, 255]], np.uint8), "m.png", mode)
    assert read_mask_values(path).tolist() == [[0, 1], [2, 255]]


def test_a_palette_mask_is_read_as_indices() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save("m.png")
    assert read_mask_values(Path("m.png")).tolist() == [[0, 1], [2, 1]]


def test_a_one_bit_mask_is_read_as_0_and_1() -> None:
    path = saved(np.array([[0, 255]], np.uint8), "m.png", "1")
    assert read_mask_values(path).tolist() == [[0, 1]]


def test_a_16_bit_mask_keeps_its_values() -> None:
    path = saved(np.array([[0, 2, 1000]], np.uint16), "m.png")
    assert read_mask_values(path).tolist() == [[0, 2, 1000]]


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
    mask = decode_mask(values, Path("m.tif"), ClassMap.of(["a", "b", "c"]), "index", -1)
    assert mask.tolist() == [[VOID, 0, 1], [2, 2, VOID]]
