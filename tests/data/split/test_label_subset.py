"""Labelled subsets that lie inside one another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segrun.data.split.label_subset import label_count, label_subset
from segrun.errors import RequestError

NAMES = tuple(f"i{n:02}" for n in range(20))


def counts(images: int, classes: int, seed: int) -> Tensor:
    """Pixels of each class in each image; class c is in about one image of 2**c."""
    chance = torch.rand(images, classes, generator=torch.Generator().manual_seed(seed))
    return (chance < 0.5 ** torch.arange(classes)).long() * 100


@given(st.integers(0, 99), st.integers(1, 20), st.integers(1, 20))
def test_labelled_subsets_lie_inside_one_another(seed: int, one: int, other: int) -> None:
    pixels = counts(20, 5, seed)
    small, large = (label_subset(NAMES, pixels, n, seed) for n in sorted((one, other)))
    assert len(small) == min(one, other) and len(large) == max(one, other)
    assert set(small) <= set(large) <= set(NAMES)


@given(st.integers(0, 99))
def test_as_many_images_as_classes_show_every_class(seed: int) -> None:
    pixels = counts(20, 5, seed)
    chosen = label_subset(NAMES, pixels, 5, seed)
    rows = [NAMES.index(name) for name in chosen]
    assert torch.equal((pixels[rows] > 0).any(0), (pixels > 0).any(0))


def test_the_labelled_subset_follows_its_seed() -> None:
    pixels = torch.ones(20, 2)
    assert label_subset(NAMES, pixels, 5, 3) == label_subset(NAMES, pixels, 5, 3)
    assert label_subset(NAMES, pixels, 5, 3) != label_subset(NAMES, pixels, 5, 4)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [("all", 20), (5, 5), ("5", 5), (0.1, 2), ("0.25", 5), (1, 1), (1.0, 20), ("1.0", 20), (20, 20)],
)
def test_labels_are_a_number_or_a_fraction(wanted: str | int | float, count: int) -> None:
    assert label_count(wanted, 20) == count


@pytest.mark.parametrize("wanted", [0, 21, -3, 0.001, -0.5, "some", 5.5, "5.5", "1e-1", float("nan"), "inf", "nan"])
def test_labels_that_make_no_subset_are_refused(wanted: str | int | float) -> None:
    with pytest.raises(RequestError, match=f"labels={wanted}"):
        label_count(wanted, 20)
