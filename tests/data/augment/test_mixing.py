"""Samples made of several keep every pixel with its label, and are a function of (seed, pass, index) alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segrun.data.augment.augment import Augment
from segrun.data.augment.mixing import Mixing, copy_paste, cutmix, mosaic
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.loader.train_loader import make_train_loader
from segrun.data.sets.shapes import Shapes
from segrun.data.sizing import Sizing
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import VOID, Sample

WAYS = {"cutmix": cutmix, "copy_paste": copy_paste, "mosaic": mosaic}


def flat(label: int, size: tuple[int, int] = (24, 30), name: str = "x") -> Sample:
    """All of one label, the image 10 times as bright."""
    mask = torch.full(size, label, dtype=torch.uint8)
    return Sample(name, mask.repeat(3, 1, 1) * 10 if label != VOID else torch.full((3, *size), 7).byte(), mask)


def mixed(**chances: float) -> Mixing:
    return Mixing(**{**dict.fromkeys(WAYS, 0.0), **chances})


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(8, 40), st.integers(8, 40)), st.integers(0, 2**31), st.sampled_from([*WAYS, "all"]))
def test_every_pixel_keeps_its_own_label(size: tuple[int, int], seed: int, way: str) -> None:
    torch.manual_seed(seed)
    labels = itertools.cycle((3, 5, 9))
    mix = mixed(**dict.fromkeys(WAYS if way == "all" else [way], 1.0))
    own = flat(1, size)
    result = mix(own, lambda: flat(next(labels), size))
    assert result.image.shape == (3, *size) and result.mask.shape == size
    assert torch.equal(result.image, result.mask.repeat(3, 1, 1) * 10)
    assert set(result.mask.unique().tolist()) <= {1, 3, 5, 9}
    assert torch.equal(own.image, flat(1, size).image)  # nobody writes to what may be kept in memory


def test_nothing_is_drawn_where_nothing_is_mixed() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    sample = flat(1)
    assert mixed()(sample, lambda: pytest.fail("no partner is needed")) is sample
    assert torch.equal(torch.rand(2), expected)


def test_a_probability_is_the_share_of_mixed_samples() -> None:
    names = [mixed(cutmix=0.3)(flat(1), lambda: flat(2)).name for _ in range(300)]
    assert set(names) == {"x", "x (mixed)"}
    assert 60 < names.count("x (mixed)") < 120


def test_cutmix_replaces_one_rectangle_of_every_share() -> None:
    shares = []
    for _ in range(200):
        inside = cutmix(flat(1), lambda: flat(2)).mask == 2
        rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
        if len(rows):
            assert inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        shares.append(float(inside.float().mean()))
    assert min(shares) < 0.05 and max(shares) > 0.6 and 0.2 < sum(shares) / 200 < 0.5


def test_copy_paste_takes_whole_regions_and_neither_class_0_nor_void() -> None:
    mask = torch.zeros(24, 30, dtype=torch.uint8)
    mask[:4, :4], mask[10:14, :5], mask[:6, 20:25], mask[15:, 15:] = 2, 2, 4, VOID
    partner = Sample("p", (mask * 10).repeat(3, 1, 1), mask)
    regions = {2: ndimage.label(mask == 2)[0], 4: ndimage.label(mask == 4)[0]}
    subsets = set()
    for _ in range(60):
        result = copy_paste(flat(1), lambda: partner)
        pasted = [
            (label, region)
            for label, labelled in regions.items()
            for region in range(1, labelled.max() + 1)
            if (result.mask.numpy() == label)[labelled == region].all()
        ]
        assert sum(int((regions[label] == region).sum()) for label, region in pasted) == int((result.mask != 1).sum())
        assert torch.equal(result.image, result.mask.repeat(3, 1, 1) * 10)
        subsets.add(tuple(pasted))
    assert len(subsets) == 8  # every subset of three regions
    own = flat(1)
    assert copy_paste(own, lambda: flat(0)) is own and copy_paste(own, lambda: flat(VOID)) is own


def test_mosaic_shows_four_whole_samples_two_by_two() -> None:
    corners = set()
    for _ in range(20):
        result = mosaic(flat(1), map(flat, (2, 3, 4)).__next__)
        corner_labels = result.mask[0, 0], result.mask[0, -1], result.mask[-1, 0], result.mask[-1, -1]
        assert {int(v) for v in corner_labels} == {1, 2, 3, 4}
        y = int((result.mask[:, 0] == corner_labels[0]).sum())
        x = int((result.mask[0] == corner_labels[0]).sum())
        assert 8 <= y <= 16 and 10 <= x <= 20
        assert (result.mask[:y, :x] == corner_labels[0]).all() and (result.mask[y:, x:] == corner_labels[3]).all()
        corners.add((y, x, int(corner_labels[0])))
    assert len(corners) > 10


def test_void_of_a_partner_stays_void() -> None:
    result = cutmix(flat(1), lambda: flat(VOID))
    assert set(result.mask.unique().tolist()) == {1, VOID}
    assert (result.image[0][result.mask == VOID] == 7).all()


@pytest.mark.parametrize("way", WAYS)
def test_8_bit_and_16_bit_samples_mix_as_floats(way: str) -> None:
    torch.manual_seed(1)
    own, partner = flat(1), flat(2)
    result = WAYS[way](own, lambda: Sample("p", partner.image.float() / 255, partner.mask))
    assert result.image.dtype == torch.float32 and (result.mask == 2).any()
    assert torch.allclose(result.image, (result.mask * 10).float().repeat(3, 1, 1) / 255)


def samples(cache: SampleCache | None = None, sizing: Sizing | None = None) -> TrainDataset:
    data = Shapes(32, train=6, val=1, test=1, objects=3, seed=0)
    every = Augment(
        scale=(0.3, 1), stretch=1.3, hflip=0.5, vflip=0.5, rotate90=True, colour=0.4, blur=0.2,
        rotate=30, class_aware=0.5, noise=0.05, jpeg=[40, 95], cutmix=0.5, copy_paste=0.5, mosaic=0.3,
    )  # fmt: skip
    sizing = sizing or Sizing("keep", None)
    return TrainDataset(data, data.splits["train"], sizing, every, 0, Targets({}, 6), cache)


def test_workers_and_cache_change_no_sample_also_where_they_are_mixed() -> None:
    batches = {}
    for workers, budget in ((0, 0), (2, 0), (0, 8_000), (2, 2**20)):
        cache = SampleCache(budget, 6) if budget else None
        loader = make_train_loader(samples(cache), EndlessBatchSampler(6, 4, seed=0), workers, pin_memory=False)
        batches[workers, budget] = list(itertools.islice(loader, 6))
    expected = batches.pop((0, 0))
    assert any("(mixed)" in name for batch in expected for name in batch.names)
    for result in batches.values():
        for one, other in zip(expected, result, strict=True):
            assert one.names == other.names and torch.equal(one.images, other.images)
            assert torch.equal(one.targets["mask"], other.targets["mask"])


def test_partners_are_drawn_from_all_and_fitted_alike() -> None:
    crops = samples(sizing=Sizing("crop", (20, 28)))
    drawn = [crops.sample((pass_index, index)) for pass_index in range(4) for index in range(6)]
    assert all(sample.image.shape == (3, 20, 28) and sample.mask.shape == (20, 28) for sample in drawn)
    read: list[str] = []
    sample = crops.data.sample
    crops.data.sample = lambda name: read.append(name) or sample(name)  # type: ignore[method-assign, func-returns-value]
    for pass_index in range(12):
        crops.sample((pass_index, 0))
    assert set(read) == set(crops.names)
