"""Augmentation moves image and mask alike, invents no label, and gives the size that was asked for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segrun.config.build import build
from segrun.data.augment.augment import Augment
from segrun.errors import RequestError
from segrun.types import VOID, Sample

LABELS = (0, 3, 8, VOID)
PLAIN = {
    "scale": (1, 1), "stretch": 1, "hflip": 0, "vflip": 0, "rotate90": False, "colour": 0, "blur": 0,
}  # fmt: skip

seeds = st.integers(0, 2**31)
sides = st.integers(8, 48)
wants = st.one_of(st.none(), st.tuples(sides, sides))
moves = st.fixed_dictionaries(
    {
        "scale": st.tuples(st.floats(0.05, 1), st.floats(1, 2)),
        "stretch": st.floats(1, 2),
        "hflip": st.floats(0, 1),
        "vflip": st.floats(0, 1),
        "rotate90": st.booleans(),
        "colour": st.just(0),
        "blur": st.just(0),
    }
)


def coded(height: int, width: int, block: int = 1) -> Sample:
    """A mask of random blocks, and an image whose every pixel is its label + 1 (void: 1, like class 0)."""
    rows, columns = math.ceil(height / block), math.ceil(width / block)
    mask = torch.tensor(LABELS, dtype=torch.uint8)[torch.randint(4, (rows, columns))]
    mask = mask.repeat_interleave(block, 0).repeat_interleave(block, 1)[:height, :width]
    return Sample("x", torch.where(mask == VOID, 1, mask + 1).repeat(3, 1, 1), mask)


def augmented(sample: Sample, size: tuple[int, int] | None, seed: int = 0, **changed: object) -> Sample:
    torch.manual_seed(seed)
    return Augment(**{**PLAIN, **changed})(sample, size)


@settings(max_examples=40, deadline=None)
@given(sides, sides, wants, moves, seeds)
def test_the_result_has_the_size_asked_for_and_no_new_label(
    height: int, width: int, size: tuple[int, int] | None, values: dict[str, object], seed: int
) -> None:
    sample = coded(height, width)
    result = augmented(sample, size, seed, **values)
    assert result.mask.shape == (size or (height, width))
    assert result.image.shape == (3, *result.mask.shape)
    assert result.image.dtype == result.mask.dtype == torch.uint8
    assert set(result.mask.unique().tolist()) <= {*sample.mask.unique().tolist(), VOID}


@settings(max_examples=40, deadline=None)
@given(sides, sides, wants, moves, seeds)
def test_image_and_mask_move_alike(
    height: int, width: int, size: tuple[int, int] | None, values: dict[str, object], seed: int
) -> None:
    result = augmented(coded(height, width), size, seed, **{**values, "scale": (1, 1), "stretch": 1})
    # without resizing every pixel still says its own label; beyond the image it says 0 and is void
    expected = torch.where(result.mask == VOID, 1, result.mask + 1)
    beyond = result.image[0] == 0
    assert torch.equal(torch.where(beyond, 1, result.image[0]), expected)
    assert (result.mask[beyond] == VOID).all()


@settings(max_examples=25, deadline=None)
@given(moves, seeds)
def test_image_and_mask_move_alike_when_resized(values: dict[str, object], seed: int) -> None:
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    inside = ((y - 41) ** 2 + (x - 52) ** 2 < 800).to(torch.uint8)
    low, _ = values["scale"]
    result = augmented(
        Sample("disc", (inside * 200).repeat(3, 1, 1), inside), (64, 64), seed,
        **{**values, "scale": (max(low, 0.3), 2)},
    )  # fmt: skip
    off = ((result.image[0] > 100) != (result.mask == 1)) & (result.mask != VOID)
    assert off.float().mean() < 0.015  # a mask half a pixel off the image differs in more


@pytest.mark.parametrize(("name", "axis"), [("hflip", 2), ("vflip", 1)])
def test_a_certain_flip_is_a_flip(name: str, axis: int) -> None:
    sample = coded(20, 30)
    result = augmented(sample, None, **{name: 1.0})
    assert torch.equal(result.image, sample.image.flip(axis)) and torch.equal(result.mask, sample.mask.flip(axis - 1))


def test_quarter_turns_take_all_four_directions_of_a_square() -> None:
    sample = coded(16, 16)
    turned = {tuple(augmented(sample, None, seed, rotate90=True).mask.flatten().tolist()) for seed in range(30)}
    assert turned == {tuple(sample.mask.rot90(k, (0, 1)).flatten().tolist()) for k in range(4)}


def test_nothing_asked_is_nothing_done() -> None:
    sample = coded(20, 30)
    result = augmented(sample, None)
    assert torch.equal(result.image, sample.image) and torch.equal(result.mask, sample.mask)


def test_a_window_of_the_images_own_scale_is_a_piece_of_it() -> None:
    sample = coded(40, 50)
    result = augmented(sample, (16, 24))
    pieces = sample.mask.unfold(0, 16, 1).unfold(1, 24, 1)
    assert (pieces == result.mask).flatten(2).all(2).any()


def test_windows_fall_everywhere() -> None:
    sample = Sample("x", torch.zeros(3, 4, 4, dtype=torch.uint8), torch.arange(16, dtype=torch.uint8).view(4, 4))
    corners = {int(augmented(sample, (3, 3), seed).mask[0, 0]) for seed in range(60)}
    assert corners == {0, 1, 4, 5}


def test_an_image_smaller_than_the_window_is_filled_up_with_void() -> None:
    sample = coded(10, 12)
    result = augmented(sample, (16, 16))
    assert torch.equal(result.mask[:10, :12], sample.mask)
    assert (result.mask[10:] == VOID).all() and (result.mask[:, 12:] == VOID).all()


def test_the_whole_image_as_window_never_looks_beyond_it() -> None:
    sample = Sample("x", torch.full((3, 32, 48), 9, dtype=torch.uint8), torch.ones(32, 48, dtype=torch.uint8))
    for seed in range(10):
        result = augmented(sample, None, seed, scale=(0.5, 2.0), stretch=1.5)
        assert (result.mask == 1).all() and (result.image == 9).all()


@pytest.mark.parametrize("change", [{"colour": 0.5}, {"blur": 1.0}])
def test_colour_and_blur_change_the_image_alone(change: dict[str, float]) -> None:
    sample = coded(20, 30, block=5)
    sample = Sample("x", sample.image * 20, sample.mask)
    result = augmented(sample, None, **change)
    assert not torch.equal(result.image, sample.image)
    assert torch.equal(result.mask, sample.mask)


def test_images_of_floats_stay_within_0_to_1() -> None:
    image = torch.rand(3, 20, 20)
    result = augmented(Sample("x", image, coded(20, 20).mask), (24, 24), colour=0.8, blur=1.0, scale=(0.3, 1))
    assert result.image.dtype == torch.float32
    assert result.image.min() >= 0 and result.image.max() <= 1


def test_the_same_seed_gives_the_same_sample() -> None:
    values = {"scale": (0.3, 1), "stretch": 1.5, "hflip": 0.5, "rotate90": True, "colour": 0.5, "blur": 0.5}
    sample = coded(32, 32)
    one, same, other = (augmented(sample, (32, 32), seed, **values) for seed in (1, 1, 2))
    assert torch.equal(one.image, same.image) and torch.equal(one.mask, same.mask)
    assert not torch.equal(one.mask, other.mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": [0, 1]}, r"augment\.scale=\[0,1\]"),
        ({"scale": [0.9, 0.5]}, r"augment\.scale=\[0\.9, 0\.5\]"),
        ({"scale": 0.5}, r"augment\.scale=0\.5"),
        ({"stretch": float("nan")}, r"augment\.stretch=nan"),
        ({"stretch": 0.5}, r"augment\.stretch=0\.5"),
        ({"hflip": 1.5}, r"augment\.hflip=1\.5"),
        ({"vflip": -0.1}, r"augment\.vflip=-0\.1"),
        ({"blur": 2}, r"augment\.blur=2"),
        ({"colour": -1}, r"augment\.colour=-1"),
        ({"noise": -0.1}, r"augment\.noise=-0\.1"),
        ({"rotate": 200}, r"augment\.rotate=200"),
        ({"class_aware": 3}, r"augment\.class_aware=3"),
        ({"cutmix": 1.1}, r"augment\.cutmix=1\.1"),
        ({"copy_paste": -1}, r"augment\.copy_paste=-1"),
        ({"mosaic": 2}, r"augment\.mosaic=2"),
        ({"jpeg": [90, 50]}, r"augment\.jpeg=\[90, 50\]"),
        ({"jpeg": [0, 50]}, r"augment\.jpeg=\[0,50\]"),
        ({"jpeg": [50]}, r"augment\.jpeg=\[50\]"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    values = {**PLAIN, "scale": [1, 1], **change}
    with pytest.raises(RequestError, match=message):
        build({"_target_": "segrun.data.augment.augment.Augment", **values}, "augment")


def test_a_turned_window_shows_image_and_mask_turned_alike() -> None:
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    inside = ((y - 30) ** 2 / 2 + (x - 60) ** 2 < 300).to(torch.uint8)
    sample = Sample("ellipse", (50 + inside * 150).repeat(3, 1, 1), inside)
    moved = 0
    for seed in range(8):
        for size in (None, (48, 48), (64, 80)):
            result = augmented(sample, size, seed, rotate=180, scale=(0.5, 1))
            visible = result.mask != VOID
            # what is visible has its label up to half a pixel of the border, and what is beyond the image is black
            off = ((result.image[0] > 125) != (result.mask == 1)) & visible
            assert off.float().mean() < 0.02
            assert (result.image[0] > 125)[~visible].sum() < 20
            assert set(result.mask.unique().tolist()) <= {0, 1, VOID}
            moved += not torch.equal(result.mask, augmented(sample, size, seed, scale=(0.5, 1)).mask)
    assert moved > 20


def test_a_turned_window_shows_what_is_around_it_and_void_beyond_the_image() -> None:
    sample = Sample("x", torch.full((3, 60, 60), 200, dtype=torch.uint8), torch.ones(60, 60, dtype=torch.uint8))
    whole = [augmented(sample, None, seed, rotate=45).mask for seed in range(20)]
    inside = [augmented(sample, (20, 20), seed, rotate=45).mask for seed in range(20)]
    assert all((mask == VOID).any() for mask in whole)
    assert any((mask == 1).all() for mask in inside) and any((mask == VOID).any() for mask in inside)


def test_class_aware_windows_hold_every_class_alike_however_rare() -> None:
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[50, 7], mask[:5] = 3, VOID
    sample = Sample("x", mask.repeat(3, 1, 1), mask)
    aware = [bool((augmented(sample, (8, 8), seed, class_aware=1.0).mask == 3).any()) for seed in range(100)]
    blind = [bool((augmented(sample, (8, 8), seed).mask == 3).any()) for seed in range(100)]
    assert 35 < sum(aware) < 70 > 35 > sum(blind)  # of the two classes each is the aim of half the windows
    unlabelled = Sample("x", sample.image, torch.full_like(mask, VOID))
    assert augmented(unlabelled, (8, 8), 0, class_aware=1.0).mask.shape == (8, 8)


@settings(max_examples=30, deadline=None)
@given(sides, sides, wants, moves, st.floats(0, 180), st.floats(0, 1), seeds)
def test_no_label_is_invented_by_any_change(
    height: int,
    width: int,
    size: tuple[int, int] | None,
    values: dict[str, object],
    turn: float,
    aware: float,
    seed: int,
) -> None:
    sample = coded(height, width)
    result = augmented(sample, size, seed, **{**values, "rotate": turn, "class_aware": aware, "noise": 0.1})
    assert result.mask.shape == (size or (height, width)) == tuple(result.image.shape[-2:])
    assert set(result.mask.unique().tolist()) <= {*sample.mask.unique().tolist(), VOID}


@settings(max_examples=25, deadline=None)
@given(moves, st.floats(0, 180), st.floats(0, 1), seeds)
def test_inside_its_blocks_the_image_is_where_the_mask_says(
    values: dict[str, object], turn: float, aware: float, seed: int
) -> None:
    torch.manual_seed(seed)
    sample = coded(96, 96, block=24)
    sample = Sample("x", torch.where(sample.mask == VOID, 1, sample.mask + 1).repeat(3, 1, 1) * 25, sample.mask)
    low, _ = values["scale"]
    changed = {**values, "scale": (max(low, 0.3), 1), "rotate": turn, "class_aware": aware}
    result = augmented(sample, None, seed, **changed)
    mask = result.mask.float()[None, None]
    even = torch.nn.functional.max_pool2d(mask, 9, 1) == -torch.nn.functional.max_pool2d(-mask, 9, 1)
    inner = result.mask[4:-4, 4:-4]
    even = even[0, 0] & (inner != VOID)
    difference = (result.image[0, 4:-4, 4:-4].float() - (inner.float() + 1) * 25).abs()
    assert (difference[even] <= 1).all()
