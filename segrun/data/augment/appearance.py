"""Augmentation of the image alone: blur, colour, noise, JPEG."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from segrun.errors import RequestError


class Appearance:
    """Random changes that leave the mask as it is. A fourth channel is alpha, which only blur changes.

    Args:
        blur: Probability of a Gaussian blur.
        colour: Strength of brightness, contrast and saturation changes.
        noise: Largest standard deviation of Gaussian noise, as a fraction of the range of values.
        jpeg: Lowest and highest quality of the JPEG compression; None for none.
    """

    def __init__(self, blur: float, colour: float, noise: float, jpeg: tuple[int, int] | None) -> None:
        self.blur = v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=blur) if blur else None
        self.colour, self.noise, self.jpeg = colour, noise, jpeg

    def __call__(self, image: Tensor) -> Tensor:
        """Change an image.

        Args:
            image: (C, H, W), uint8 or float32 in [0, 1].

        Returns:
            An image of the same shape and type.

        Raises:
            RequestError: JPEG is requested and cannot store such an image.
        """
        if self.blur is not None:
            image = self.blur(image)
        colours, alpha = (image[:3], image[3:]) if len(image) == 4 else (image, None)
        if self.colour and len(colours) in (1, 3):  # other numbers of channels are no colours
            colours = jitter_colour(colours, self.colour)
        if self.noise:
            colours = add_noise(colours, self.noise * float(torch.rand(())))
        if self.jpeg is not None:
            lowest, highest = self.jpeg
            colours = compress_jpeg(colours, int(torch.randint(lowest, highest + 1, ())))
        return colours if alpha is None else torch.cat((colours, alpha))


def jitter_colour(image: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast and saturation by factors from 1 − strength to 1 + strength, in random order.

    It draws and computes what torchvision's ColorJitter does, bit for bit, in half of its time: an 8-bit image becomes
    float once and is rounded down after each step, without the conversions to uint8 in between.

    Args:
        image: (1 or 3, H, W), uint8 or float32 in [0, 1].
        strength: 0 or more.
    """
    order = torch.randperm(4).tolist()  # ColorJitter's fourth change is the hue, which stays as it is
    low, high = max(0.0, 1 - strength), 1 + strength
    brightness, contrast, saturation = (float(torch.empty(1).uniform_(low, high)) for _ in range(3))
    is_uint8 = image.dtype == torch.uint8
    values = image.float() if is_uint8 else image.clone()
    for step in order:
        if step == 0:
            values.mul_(brightness)
        elif step == 1:
            mean = _to_grey(values, is_uint8).mean((-3, -2, -1), keepdim=True)
            values.mul_(contrast).add_(mean, alpha=1 - contrast)
        elif step == 2 and len(values) == 3:
            grey = _to_grey(values, is_uint8)
            values.mul_(saturation).add_(grey, alpha=1 - saturation)
        else:
            continue
        values.clamp_(0, 255 if is_uint8 else 1)
        if is_uint8:
            values.floor_()
    return _to_uint8(values) if is_uint8 else values


def _to_grey(values: Tensor, round_down: bool) -> Tensor:
    """(1, H, W), weighted as in ITU-R BT.601."""
    if len(values) == 1:
        return values
    red, green, blue = values.unbind(-3)
    grey = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(-3)
    return grey.floor_() if round_down else grey


def add_noise(image: Tensor, deviation: float) -> Tensor:
    """Add Gaussian noise to every value.

    Args:
        image: (C, H, W), uint8 or float32 in [0, 1].
        deviation: Standard deviation, as a fraction of the range of values.
    """
    largest = 255 if image.dtype == torch.uint8 else 1
    values = torch.randn(image.shape).mul_(deviation * largest).add_(image).clamp_(0, largest)
    return _to_uint8(values.round_()) if largest == 255 else values


def compress_jpeg(image: Tensor, quality: int) -> Tensor:
    """What JPEG compression keeps of an image.

    Args:
        image: (C, H, W)
        quality: 1 to 100.

    Raises:
        RequestError: JPEG cannot store such an image.
    """
    if image.dtype != torch.uint8 or len(image) not in (1, 3):
        kind = f"{len(image)} channels of {'8-bit values' if image.dtype == torch.uint8 else 'floats'}"
        raise RequestError(
            f"augment.jpeg: JPEG stores 8-bit grey or RGB; these images have {kind}. Set augment.jpeg=null."
        )
    return v2.functional.jpeg(image.contiguous(), quality)  # type: ignore[no-any-return]


def _to_uint8(values: Tensor) -> Tensor:
    """By numpy, in a fifth of torch's time."""
    return torch.from_numpy(values.numpy().astype(np.uint8))
