"""One look at the data counts its pixels, and names every kind of damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segrun.data.folder import Folder
from segrun.data.shapes import Shapes
from segrun.data.survey import survey
from segrun.errors import DataError
from segrun.types import VOID

Writer = Callable[..., Path]


def opened(root: Path) -> Folder:
    fractions = {"train": 0.5, "val": 0.5, "seed": 0}
    return Folder(str(root), ["ground", "square"], "index", 255, fractions, allow_unpaired=False)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(root: Path, name: str, how: str) -> str:
    """Damages one pair; what the message must say."""
    image, mask = root / "images" / f"{name}.png", root / "masks" / f"{name}.png"
    if how == "truncated":
        truncate(image)
        return rf"images/{name}\.png: cannot be read"
    if how == "corrupt":
        mask.write_bytes(b"this is no image")
        return rf"masks/{name}\.png: cannot be read"
    if how == "off-size":
        Image.fromarray(np.zeros((47, 64), np.uint8)).save(mask)
        return f"{name}: the image is 64×48, its mask 64×47"
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(mask)
    return rf"masks/{name}\.png: values outside the 2 classes: 7 \(3072 pixels\)"


def test_pixels_are_counted_by_class_without_void(folder_data: Writer) -> None:
    root = folder_data(5)
    Image.fromarray(np.array([[0, 1, 1, 255]], np.uint8)).resize((64, 48), 0).save(root / "masks" / "p02.png")
    data = opened(root)
    found = survey(data, tuple(data.pairs))
    assert found.names == ("p00", "p01", "p02", "p03", "p04") and set(found.sizes) == {(48, 64)}
    assert found.pixels[2].tolist() == [768, 1536] and found.pixels[0].tolist() == [48 * 64 - 400, 400]


def test_counts_are_those_of_the_masks_one_by_one() -> None:
    data = Shapes(40, train=6, val=1, test=1, objects=4, seed=2)
    found = survey(data, data.splits["train"])
    for name, row in zip(found.names, found.pixels, strict=True):
        assert row.tolist() == [int((data.mask(name) == c).sum()) for c in range(6)]


def test_part_of_a_survey_keeps_names_and_rows_together() -> None:
    data = Shapes(40, train=4, val=1, test=1, objects=4, seed=2)
    found = survey(data, data.splits["train"])
    part = found.of(["train-003", "train-001"])
    assert part.names == ("train-003", "train-001")
    assert torch.equal(part.pixels, found.pixels[[3, 1]]) and len(part.sizes) == 2


def test_every_image_ticks_once_also_a_damaged_one(folder_data: Writer) -> None:
    root = folder_data(5)
    data, ticks = opened(root), []
    spoil(root, "p02", "truncated")
    with pytest.raises(DataError):
        survey(data, tuple(data.pairs), ticks.append)
    assert ticks == [1] * 5


@pytest.mark.parametrize("how", ["truncated", "corrupt", "off-size", "off-value"])
def test_each_kind_of_damage_is_named(how: str, folder_data: Writer) -> None:
    root = folder_data(5)
    message = spoil(root, "p03", how)
    data = opened(root)
    with pytest.raises(DataError, match=message):
        survey(data, tuple(data.pairs))


def test_several_damaged_files_are_named_together(folder_data: Writer) -> None:
    root = folder_data(6)
    messages = [spoil(root, name, how) for name, how in (("p01", "truncated"), ("p02", "corrupt"), ("p04", "off-size"))]
    data = opened(root)
    with pytest.raises(DataError, match="(?s)" + ".*\n.*".join(messages) + ".{0,3}$"):
        survey(data, tuple(data.pairs))


def test_many_damaged_files_are_named_in_part_and_counted(folder_data: Writer) -> None:
    root = folder_data(9)
    for index in range(2, 7):
        spoil(root, f"p{index:02}", "off-value")
    data = opened(root)
    with pytest.raises(DataError, match=r"(?s)p02\.png.*p03\.png.*p04\.png.*… and 2 more of 9 files"):
        survey(data, tuple(data.pairs))


def test_a_mask_all_void_counts_nothing(folder_data: Writer) -> None:
    root = folder_data(3)
    Image.fromarray(np.full((48, 64), VOID, np.uint8)).save(root / "masks" / "p01.png")
    data = opened(root)
    assert survey(data, ("p01",)).pixels.tolist() == [[0, 0]]


def test_no_image_at_all_is_refused(folder_data: Writer) -> None:
    with pytest.raises(DataError, match="holds no image"):
        survey(opened(folder_data(3)), ())
