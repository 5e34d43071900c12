"""The embedded data set: the same pictures for the same seed, every class in them."""

from __future__ import annotations

import pytest
import torch

from segrun.data.sets.shapes import TEXTURES, Shapes


def shapes(seed: int = 0, size: int = 48, train: int = 12) -> Shapes:
    return Shapes(size, train=train, val=2, test=2, objects=5, seed=seed)


def test_a_picture_is_the_same_whenever_and_in_whatever_order_it_is_drawn() -> None:
    one, other = shapes(), shapes(train=3)
    other.sample("val-001")
    first, again = one.sample("train-002"), other.sample("train-002")
    assert torch.equal(first.image, again.image) and torch.equal(first.mask, again.mask)


def test_seed_split_and_number_each_make_another_picture() -> None:
    images = [
        shapes(seed).image(name)
        for seed, name in ((0, "train-000"), (1, "train-000"), (0, "val-000"), (0, "test-000"), (0, "train-001"))
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


def test_the_classes_are_the_background_and_the_textures() -> None:
    data = shapes()
    assert data.classes.names == ("background", *TEXTURES)
    labels = torch.cat([data.mask(name).unique() for name in data.splits["train"]]).unique()
    assert labels.tolist() == list(range(6))


@pytest.mark.parametrize("size", [33, 64])
def test_pictures_have_the_size_and_types_of_a_sample(size: int) -> None:
    sample = shapes(size=size).sample("test-001")
    assert sample.image.shape == (3, size, size) and sample.mask.shape == (size, size)
    assert sample.image.dtype == sample.mask.dtype == torch.uint8


def test_splits_hold_what_was_asked_for_and_an_empty_one_is_left_out() -> None:
    splits = Shapes(32, train=3, val=2, test=0, objects=3, seed=0).splits
    assert splits == {"train": ("train-000", "train-001", "train-002"), "val": ("val-000", "val-001")}


def test_mean_colour_does_not_tell_the_classes_apart() -> None:
    data = shapes(size=64, train=40)
    means: dict[int, list[float]] = {}
    for name in data.splits["train"]:
        sample = data.sample(name)
        for label in sample.mask.unique().tolist():
            means.setdefault(label, []).append(float(sample.image[:, sample.mask == label].float().mean()))
    spread = torch.tensor([value for values in means.values() for value in values]).std()
    centres = torch.tensor([sum(values) / len(values) for values in means.values()])
    assert centres.std() < spread / 2
