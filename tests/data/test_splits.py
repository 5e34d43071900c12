"""Splits by fractions and lists; labelled subsets that lie inside one another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segrun.data.shapes import Shapes
from segrun.data.splits import by_fractions, disjoint, from_list, labelled, labelled_count
from segrun.errors import RequestError

NAMES = tuple(f"i{n:02}" for n in range(20))
THIRDS = {"train": 0.7, "val": 0.15, "test": 0.15}


def counts(images: int, classes: int, seed: int) -> Tensor:
    """Pixels of each class in each image; class c is in about one image of 2**c."""
    chance = torch.rand(images, classes, generator=torch.Generator().manual_seed(seed))
    return (chance < 0.5 ** torch.arange(classes)).long() * 100


def test_fractions_part_all_images_between_the_splits() -> None:
    splits = by_fractions(NAMES, THIRDS, 0)
    assert {split: len(names) for split, names in splits.items()} == {"train": 14, "val": 3, "test": 3}
    assert sorted(name for names in splits.values() for name in names) == sorted(NAMES)


def test_the_splits_follow_their_seed_and_not_the_order_of_the_files() -> None:
    assert by_fractions(NAMES, THIRDS, 1) == by_fractions(NAMES[::-1], THIRDS, 1)
    assert by_fractions(NAMES, THIRDS, 1) != by_fractions(NAMES, THIRDS, 2)


def test_the_splits_do_not_touch_the_random_state_of_training() -> None:
    torch.manual_seed(1)
    by_fractions(NAMES, THIRDS, 5)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))


def test_a_split_of_zero_is_left_out() -> None:
    assert set(by_fractions(NAMES, {"train": 0.5, "val": 0.5, "test": 0.0}, 0)) == {"train", "val"}


@pytest.mark.parametrize("train", [-0.1, 0.9, 14, float("nan")])
def test_fractions_that_make_no_sense_are_refused(train: float) -> None:
    with pytest.raises(RequestError, match=r"dataset\.split\.train=.*add up to 1 at most"):
        by_fractions(NAMES, {**THIRDS, "train": train}, 0)


def test_too_few_images_for_a_split_are_refused() -> None:
    with pytest.raises(RequestError, match="3 images leave none for test"):
        by_fractions(NAMES[:3], THIRDS, 0)


def test_no_images_for_val_are_refused() -> None:
    with pytest.raises(RequestError, match="leave none for val"):
        by_fractions(NAMES, {"train": 1.0, "val": 0.0, "test": 0.0}, 0)


def test_a_list_names_what_is_not_there() -> None:
    Path("val.txt").write_text("i01\nj1.png\nnothing\n")
    with pytest.raises(RequestError, match=r"val\.txt: 2 names without a pair of image and mask: j1\.png, nothing"):
        from_list(Path("val.txt"), NAMES)


def test_a_list_may_hold_a_name_twice_paths_and_a_byte_order_mark() -> None:
    Path("val.txt").write_text("x/ü 1.jpg\ni01\ni01.png\n", encoding="utf-8-sig")
    assert from_list(Path("val.txt"), [*NAMES, "x/ü 1"]) == ("x/ü 1", "i01")


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "is empty"), (b"\xff\xfe\x00", "cannot be read")])
def test_an_empty_or_unreadable_list_is_refused(content: bytes, message: str) -> None:
    Path("val.txt").write_bytes(content)
    with pytest.raises(RequestError, match=rf"val\.txt: this split list {message}"):
        from_list(Path("val.txt"), NAMES)


def test_a_missing_list_is_named() -> None:
    with pytest.raises(RequestError, match=r"gone\.txt: this split list cannot be read"):
        from_list(Path("gone.txt"), NAMES)


def test_an_image_in_two_splits_is_refused() -> None:
    disjoint({"train": ["a", "b"], "val": ["c"]})
    with pytest.raises(RequestError, match="1 images are in both train and test: b"):
        disjoint({"train": ["a", "b"], "val": ["c"], "test": ["b", "d"]})


@given(st.integers(0, 99), st.integers(1, 20), st.integers(1, 20))
def test_labelled_subsets_lie_inside_one_another(seed: int, one: int, other: int) -> None:
    pixels = counts(20, 5, seed)
    small, large = (labelled(NAMES, pixels, n, seed) for n in sorted((one, other)))
    assert len(small) == min(one, other) and len(large) == max(one, other)
    assert set(small) <= set(large) <= set(NAMES)


@given(st.integers(0, 99))
def test_as_many_images_as_classes_show_every_class(seed: int) -> None:
    pixels = counts(20, 5, seed)
    chosen = labelled(NAMES, pixels, 5, seed)
    rows = [NAMES.index(name) for name in chosen]
    assert torch.equal((pixels[rows] > 0).any(0), (pixels > 0).any(0))


def test_the_labelled_subset_follows_its_seed() -> None:
    pixels = torch.ones(20, 2)
    assert labelled(NAMES, pixels, 5, 3) == labelled(NAMES, pixels, 5, 3)
    assert labelled(NAMES, pixels, 5, 3) != labelled(NAMES, pixels, 5, 4)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [("all", 20), (5, 5), ("5", 5), (0.1, 2), ("0.25", 5), (1, 1), (1.0, 20), ("1.0", 20), (20, 20)],
)
def test_labels_are_a_number_or_a_fraction(wanted: str | int | float, count: int) -> None:
    assert labelled_count(wanted, 20) == count


@pytest.mark.parametrize("wanted", [0, 21, -3, 0.001, -0.5, "some", 5.5, "5.5", "1e-1", float("nan"), "inf", "nan"])
def test_labels_that_make_no_subset_are_refused(wanted: str | int | float) -> None:
    with pytest.raises(RequestError, match=f"labels={wanted}"):
        labelled_count(wanted, 20)


def test_a_stored_split_takes_the_place_of_the_data_sets_own() -> None:
    data = Shapes(32, train=3, val=2, test=1, objects=2, seed=0)
    data.use({"train": ["val-000"], "val": ["train-001"]})
    assert data.splits == {"train": ("val-000",), "val": ("train-001",)}
    with pytest.raises(RequestError, match="1 images of the run's stored split are not in this data set: train-002"):
        data.use({"train": ["train-002"]})
