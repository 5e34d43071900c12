"""Samples are a function of (seed, pass, index) alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.data.augment.augment import Augment
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.seeds import derive_seed
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.loader.train_loader import make_train_loader
from segrun.data.sets.shapes import Shapes
from segrun.data.sizing import Sizing
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import VOID, Batch, Example, Sample

STRONG = Augment(scale=(0.3, 1), stretch=1.3, hflip=0.5, vflip=0.5, rotate90=True, colour=0.4, blur=0.5)


def samples(seed: int = 0, augment: Augment | None = STRONG, sizing: Sizing | None = None) -> TrainDataset:
    data = Shapes(32, train=5, val=1, test=1, objects=3, seed=0)
    return TrainDataset(data, data.splits["train"], sizing or Sizing("keep", None), augment, seed, Targets({}, 6))


def same(one: Example, other: Example) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.targets["mask"], other.targets["mask"])


def test_a_sample_depends_on_seed_pass_and_index_alone() -> None:
    one, again = samples(), samples()
    torch.manual_seed(99)
    again[1, 3], again[0, 0], torch.rand(5)
    assert same(one[0, 2], again[0, 2])
    assert not same(one[0, 2], one[1, 2])
    assert not same(one[0, 2], samples(seed=1)[0, 2])


def test_images_of_one_pass_are_not_all_changed_in_the_same_way() -> None:
    flips = Augment(scale=(1, 1), stretch=1, hflip=0.5, vflip=0, rotate90=False, colour=0, blur=0)
    data = samples(augment=flips)
    flipped = [torch.equal(data.sample((0, i)).mask, data.data.mask(data.names[i]).flip(1)) for i in range(5)]
    again = [torch.equal(data.sample((r, 0)).mask, data.data.mask(data.names[0]).flip(1)) for r in range(8)]
    assert set(flipped) == set(again) == {True, False}


def test_drawing_a_sample_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    samples()[0, 1]
    assert torch.equal(torch.rand(3), expected)


def test_the_number_of_workers_changes_nothing() -> None:
    def batches(workers: int) -> list[Batch]:
        loader = make_train_loader(samples(), EndlessBatchSampler(5, 4, seed=0), workers, pin_memory=False)
        return list(itertools.islice(loader, 4))

    for alone, helped in zip(batches(0), batches(2), strict=True):
        assert alone.names == helped.names
        assert torch.equal(alone.images, helped.images)
        assert torch.equal(alone.targets["mask"], helped.targets["mask"])


def test_without_augmentation_a_sample_is_the_image_itself() -> None:
    data = samples(augment=None)
    plain = data.data.sample("train-001")
    assert torch.equal(data[3, 1].image, plain.image) and torch.equal(data[3, 1].targets["mask"], plain.mask)


def test_windows_are_drawn_also_without_augmentation() -> None:
    data = samples(augment=None, sizing=Sizing("crop", (16, 20)))
    drawn = [data[pass_index, 0] for pass_index in range(4)]
    assert all(sample.image.shape == (3, 16, 20) for sample in drawn)
    assert not all(same(drawn[0], sample) for sample in drawn[1:])


def test_fitted_samples_have_the_size_of_the_sizing() -> None:
    for fit in ("resize", "pad", "crop"):
        assert samples(sizing=Sizing(fit, (40, 48)))[0, 0].image.shape == (3, 40, 48)


def first_release(sample: Sample, size: tuple[int, int], values: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The window, flips and colours as segrun first drew them, by torchvision's transforms of tv_tensors. Measured
    results rest on these samples, so that they stay what they are, bit for bit."""
    image, mask = tv_tensors.Image(sample.image), tv_tensors.Mask(sample.mask[None])
    (low, high), stretch = values["scale"], math.log(values["stretch"])
    area = low + (high - low) * float(torch.rand(()))
    ratio = math.exp(-stretch + 2 * stretch * float(torch.rand(())))
    tall, wide = round(size[0] * math.sqrt(area / ratio)), round(size[1] * math.sqrt(area * ratio))
    if size == tuple(image.shape[-2:]):
        tall, wide = min(tall, size[0]), min(wide, size[1])
    right, down = max(0, wide - image.shape[-1]), max(0, tall - image.shape[-2])
    if right or down:
        image, mask = (v2.functional.pad(t, [0, 0, right, down], fill=f) for t, f in ((image, 0), (mask, VOID)))
    top = int(torch.randint(image.shape[-2] - tall + 1, ()))
    left = int(torch.randint(image.shape[-1] - wide + 1, ()))
    cut = v2.functional.crop(mask, top, left, tall, wide).as_subclass(torch.Tensor)
    if (tall, wide) != size:
        image = v2.functional.resized_crop(image, top, left, tall, wide, list(size), antialias=True)
        cut = v2.functional.resize(cut, list(size), v2.InterpolationMode.NEAREST_EXACT)
    else:
        image = v2.functional.crop(image, top, left, tall, wide)
    image, mask = (
        v2.RandomHorizontalFlip(values["hflip"])(image, tv_tensors.Mask(cut)) if values["hflip"] else (image, cut)
    )
    colour = values["colour"]
    return v2.ColorJitter(colour, colour, colour)(image) if colour else image, mask[0]


@pytest.mark.parametrize("option", ["standard", "light", "none"])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_the_options_of_the_first_release_draw_what_they_always_drew(option: str, size: tuple[int, int]) -> None:
    values = compose("train", [f"augment={option}"])["augment"]
    crop = Sizing("crop", size)
    data = samples(seed=5, augment=build(values, "augment"), sizing=crop if size != (32, 32) else None)
    for pass_index, index in itertools.product(range(4), range(5)):
        torch.manual_seed(derive_seed(5, pass_index, index))
        image, mask = first_release(data.data.sample(data.names[index]), size, values)
        result = data.sample((pass_index, index))
        assert torch.equal(result.image, image) and torch.equal(result.mask, mask) and mask.dtype == torch.uint8


def test_reading_that_draws_random_numbers_changes_no_augmentation() -> None:
    plain, noisy = samples(), samples()
    read = noisy.data.sample
    noisy.data.sample = lambda name: (torch.rand(7), read(name))[1]  # type: ignore[method-assign]
    assert same(plain[2, 1], noisy[2, 1])
