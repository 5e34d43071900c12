"""What changes of the image alone."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from segrun.data.augment.appearance import Appearance, jitter_colour
from segrun.errors import RequestError


def drawn(seed: int, channels: int, floats: bool) -> torch.Tensor:
    """In one of the layouts that flips and turns leave."""
    values = torch.randint(256, (channels, 31, 44), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    if seed % 3 == 0:
        values = values.rot90(1, (-2, -1))
    if seed % 4 == 0:
        values = values[:, 3:-2, 1:]
    return values.float() / 255 if floats else values


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("floats", [False, True])
def test_colours_are_changed_as_by_torchvisions_colour_jitter_bit_for_bit(channels: int, floats: bool) -> None:
    for seed in range(24):
        image, strength = drawn(seed, channels, floats), 0.1 + seed / 18
        before = image.clone()
        torch.manual_seed(seed)
        expected = v2.ColorJitter(strength, strength, strength)(image)
        torch.manual_seed(seed)
        assert torch.equal(jitter_colour(image, strength), expected)
        assert torch.equal(image, before)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("floats", [False, True])
def test_images_of_any_channels_keep_their_type_range_and_shape(channels: int, floats: bool) -> None:
    image = drawn(1, channels, floats)
    result = Appearance(blur=1.0, colour=0.9, noise=0.5, jpeg=None)(image)
    assert result.shape == image.shape and result.dtype == image.dtype
    assert result.min() >= 0 and result.max() <= (1 if floats else 255)
    assert not torch.equal(result, image)


def test_alpha_is_neither_coloured_nor_noisy_nor_compressed() -> None:
    image = drawn(1, 4, floats=False)
    result = Appearance(blur=0, colour=0.5, noise=0.2, jpeg=(10, 10))(image)
    assert torch.equal(result[3], image[3]) and not torch.equal(result[:3], image[:3])


@pytest.mark.parametrize("floats", [False, True])
def test_noise_has_the_deviation_that_was_asked_for_at_most(floats: bool) -> None:
    image = torch.full((3, 64, 64), 0.5) if floats else torch.full((3, 64, 64), 128, dtype=torch.uint8)
    noise = Appearance(blur=0, colour=0, noise=0.1, jpeg=None)
    deviations = [float(noise(image).float().std()) / (1 if floats else 255) for _ in range(40)]
    assert max(deviations) < 0.11 and min(deviations) < 0.03 and max(deviations) > 0.07


def test_a_jpeg_of_lower_quality_differs_more() -> None:
    image = torch.nn.functional.interpolate(drawn(1, 3, floats=True)[None], (128, 128), mode="bicubic")[0]
    image = (image.clamp(0, 1) * 255).byte()
    off = [
        float((Appearance(0, 0, 0, (quality, quality))(image).float() - image.float()).abs().mean())
        for quality in (95, 50, 5)
    ]
    assert 0 < off[0] < off[1] < off[2] < 40


@pytest.mark.parametrize(("channels", "floats"), [(3, True), (7, False), (2, False)])
def test_a_jpeg_of_what_it_cannot_hold_is_refused(channels: int, floats: bool) -> None:
    kind = "floats" if floats else "8-bit values"
    with pytest.raises(RequestError, match=rf"augment\.jpeg: .*{channels} channels of {kind}.*augment\.jpeg=null"):
        Appearance(0, 0, 0, (50, 90))(drawn(1, channels, floats))
