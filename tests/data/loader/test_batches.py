"""The stream of batches, and samples that are a function of (seed, pass, index) alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from segrun.config.build import build
from segrun.config.compose import compose, to_dict
from segrun.data.augment.augment import Augment
from segrun.data.augment.mixing import as_float
from segrun.data.loader.batches import Key, Stream, TrainingSamples, collate, derive_seed, training_batches
from segrun.data.sets.shapes import Shapes
from segrun.data.sizing import Sizing
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import VOID, Batch, Example, Sample

STRONG = Augment(scale=(0.3, 1), stretch=1.3, hflip=0.5, vflip=0.5, rotate90=True, colour=0.4, blur=0.5)


def taken(stream: Stream, batches: int) -> list[list[Key]]:
    return list(itertools.islice(stream, batches))


def samples(seed: int = 0, augment: Augment | None = STRONG, sizing: Sizing | None = None) -> TrainingSamples:
    data = Shapes(32, train=5, val=1, test=1, objects=3, seed=0)
    return TrainingSamples(data, data.splits["train"], sizing or Sizing("keep", None), augment, seed, Targets({}, 6))


def same(one: Example, other: Example) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.targets["mask"], other.targets["mask"])


def test_each_pass_shows_every_image_once() -> None:
    keys = [key for batch in taken(Stream(10, 4, seed=0), 5) for key in batch]
    assert [round_ for round_, _ in keys] == [0] * 10 + [1] * 10
    first, second = [i for _, i in keys[:10]], [i for _, i in keys[10:]]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second and first != list(range(10))


def test_every_batch_is_full_also_with_fewer_images_than_a_batch_holds() -> None:
    batches = taken(Stream(3, 8, seed=0), 3)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == 24  # the same image comes again in another pass, augmented anew
    assert sorted(keys) == [(round_, i) for round_ in range(8) for i in range(3)]


def test_the_order_follows_the_seed() -> None:
    assert taken(Stream(10, 4, seed=1), 3) == taken(Stream(10, 4, seed=1), 3)
    assert taken(Stream(10, 4, seed=1), 3) != taken(Stream(10, 4, seed=2), 3)


@pytest.mark.parametrize(("batch", "world"), [(4, 2), (5, 2), (7, 3)])
def test_the_shares_of_all_processes_join_to_the_batch_of_one(batch: int, world: int) -> None:
    whole = taken(Stream(11, batch, seed=3), 6)
    shares = [taken(Stream(11, batch, 3, rank, world), 6) for rank in range(world)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == whole


def test_a_stream_started_later_continues_as_if_it_had_never_stopped() -> None:
    assert taken(Stream(7, 3, seed=0, start=4), 6) == taken(Stream(7, 3, seed=0), 10)[4:]


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
        loader = training_batches(samples(), Stream(5, 4, seed=0), workers, pin=False)
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
    drawn = [data[round_, 0] for round_ in range(4)]
    assert all(sample.image.shape == (3, 16, 20) for sample in drawn)
    assert not all(same(drawn[0], sample) for sample in drawn[1:])


def test_fitted_samples_have_the_size_of_the_sizing() -> None:
    for fit in ("resize", "pad", "crop"):
        assert samples(sizing=Sizing(fit, (40, 48)))[0, 0].image.shape == (3, 40, 48)


def test_a_batch_keeps_names_images_and_masks_together() -> None:
    data = samples(augment=None)
    batch = collate([data[0, 4], data[0, 1]])
    assert len(batch) == 2 and batch.names == ("train-004", "train-001")
    assert torch.equal(batch.images[1], data[0, 1].image)
    assert torch.equal(batch.targets["mask"][0], data[0, 4].targets["mask"])


def test_8_bit_and_16_bit_images_meet_as_floats() -> None:
    targets = {"mask": torch.zeros(2, 2, dtype=torch.uint8)}
    eight = Example("a", torch.full((3, 2, 2), 51, dtype=torch.uint8), targets)
    sixteen = Example("b", torch.full((3, 2, 2), 0.5), targets)
    batch = collate([eight, sixteen])
    assert torch.allclose(batch.images[:, 0, 0, 0], torch.tensor([0.2, 0.5]))
    assert torch.equal(as_float(eight.image), batch.images[0])


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
    values = to_dict(compose("train", [f"augment={option}"]))["augment"]
    crop = Sizing("crop", size)
    data = samples(seed=5, augment=build(values, "augment"), sizing=crop if size != (32, 32) else None)
    for round_, index in itertools.product(range(4), range(5)):
        torch.manual_seed(derive_seed(5, round_, index))
        image, mask = first_release(data.data.sample(data.names[index]), size, values)
        found = data.sample((round_, index))
        assert torch.equal(found.image, image) and torch.equal(found.mask, mask) and mask.dtype == torch.uint8


def test_reading_that_draws_random_numbers_changes_no_augmentation() -> None:
    plain, noisy = samples(), samples()
    read = noisy.data.sample
    noisy.data.sample = lambda name: (torch.rand(7), read(name))[1]  # type: ignore[method-assign]
    assert same(plain[2, 1], noisy[2, 1])
