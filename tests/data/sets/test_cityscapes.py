"""Cityscapes: the official train ids out of label ids, names and splits."""

from __future__ import annotations

import numpy as np
import pytest

from segrun.data.sets.cityscapes import Cityscapes
from segrun.errors import DataError
from segrun.types import VOID
from tests.data.sets import layouts

NAME = "train/aachen/aachen_000000_000019"


def test_label_ids_become_the_official_train_ids() -> None:
    data = Cityscapes(str(layouts.cityscapes()))
    _ = VOID
    # ids 0 to 19: road is 7, sidewalk 8, building 11, wall 12, fence 13, pole 17, traffic light 19
    assert data.mask(NAME).tolist() == [[_, _, _, _, _], [_, _, 0, 1, _], [_, 2, 3, 4, _], [_, _, 5, _, 6]]


def test_the_vehicles_and_the_licence_plate_are_told_apart() -> None:
    data = Cityscapes(str(layouts.cityscapes()))
    ids = [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 255]
    layouts.put(data.pairs[NAME][1], np.array([ids]))
    expected = [7, 8, 9, 10, 11, 12, 13, 14, 15, VOID, VOID, 16, 17, 18, VOID]
    assert data.mask(NAME).tolist() == [expected]


def test_nineteen_classes_have_their_names_and_colours() -> None:
    classes = Cityscapes.classes
    assert len(classes) == 19
    known = {"road": (128, 64, 128), "traffic light": (250, 170, 30), "car": (0, 0, 142), "bicycle": (119, 11, 32)}
    for index, name in ((0, "road"), (6, "traffic light"), (13, "car"), (18, "bicycle")):
        assert classes.names[index] == name and classes.palette[index] == known[name]


def test_train_and_val_are_read_and_the_dummies_of_test_are_not() -> None:
    data = Cityscapes(str(layouts.cityscapes()))
    assert data.splits == {"train": (NAME,), "val": ("val/ulm/ulm_000000_000019",)}
    assert len(data.names) == 2 and any("test are dummies" in note for note in data.notes)


def test_the_images_of_a_town_belong_together() -> None:
    data = Cityscapes(str(layouts.cityscapes()))
    assert data.group(NAME) == data.group("train/aachen/aachen_000001_000019") == "train/aachen"


def test_a_mask_without_its_image_is_a_problem() -> None:
    data = Cityscapes(str(layouts.cityscapes()))
    layouts.picture(data.root / "gtFine/train/bremen/bremen_000000_000019_gtFine_labelIds.png")
    (problem,) = Cityscapes(str(data.root)).problems
    assert "1 masks without an image: bremen/bremen_000000_000019" in problem


def test_an_id_that_is_none_is_refused() -> None:
    data = Cityscapes(str(layouts.cityscapes()))
    layouts.put(data.pairs[NAME][1], layouts.filled(7, p00=34))
    with pytest.raises(DataError, match=r"labelIds\.png: values .*: 34 \(1 pixels\); it uses 0 to 33"):
        data.mask(NAME)
