"""What augmentation changes of an image alone: blur, colours, noise, JPEG."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from segrun.errors import RequestError


class Appearance:
    """blur: probability; colour: strength; noise: largest standard deviation, as a share of the values' range;
    jpeg: lowest and highest quality, or None. A fourth channel is alpha, which blur alone changes."""

    def __init__(self, blur: float, colour: float, noise: float, jpeg: tuple[int, int] | None) -> None:
        self.blur = v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=blur) if blur else None
        self.colour, self.noise, self.jpeg = colour, noise, jpeg

    def __call__(self, image: Tensor) -> Tensor:
        """(C, H, W), uint8 or float32 in [0, 1], to the same.

        Raises:
            RequestError: JPEG is asked for and cannot hold such an image.
        """
        if self.blur is not None:
            image = self.blur(image)
        shown, alpha = (image[:3], image[3:]) if len(image) == 4 else (image, None)
        if self.colour and len(shown) in (1, 3):  # many bands are no colours
            shown = jittered(shown, self.colour)
        if self.noise:
            shown = noisy(shown, self.noise * float(torch.rand(())))
        if self.jpeg is not None:
            shown = compressed(shown, int(torch.randint(self.jpeg[0], self.jpeg[1] + 1, ())))
        return shown if alpha is None else torch.cat((shown, alpha))


def jittered(image: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and saturation by factors from 1 − strength to 1 + strength, in random order.

    torchvision's ColorJitter bit for bit, in a third of its time: an 8-bit image becomes float once, and whole
    numbers again after each step, without its way through uint8 between the steps.
    """
    order = torch.randperm(4).tolist()  # of four, since ColorJitter's last is the hue, which stays
    low, high = max(0.0, 1 - strength), 1 + strength
    brightness, contrast, saturation = (float(torch.empty(1).uniform_(low, high)) for _ in range(3))
    eight = image.dtype == torch.uint8
    values = image.float() if eight else image.clone()
    for step in order:
        if step == 0:
            values.mul_(brightness)
        elif step == 1:
            mean = _grey(values, eight).mean((-3, -2, -1), keepdim=True)
            values.mul_(contrast).add_(mean, alpha=1 - contrast)
        elif step == 2 and len(values) == 3:
            grey = _grey(values, eight)
            values.mul_(saturation).add_(grey, alpha=1 - saturation)
        else:
            continue
        values.clamp_(0, 255 if eight else 1)
        if eight:
            values.floor_()
    return _bytes(values) if eight else values


def _grey(values: Tensor, whole: bool) -> Tensor:
    """(1, H, W), weighed as in ITU-R BT.601."""
    if len(values) == 1:
        return values
    red, green, blue = values.unbind(-3)
    grey = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(-3)
    return grey.floor_() if whole else grey


def noisy(image: Tensor, deviation: float) -> Tensor:
    """With Gaussian noise of this standard deviation, as a share of the values' range, on every value."""
    most = 255 if image.dtype == torch.uint8 else 1
    values = torch.randn(image.shape).mul_(deviation * most).add_(image).clamp_(0, most)
    return _bytes(values.round_()) if most == 255 else values


def compressed(image: Tensor, quality: int) -> Tensor:
    """What a JPEG of this quality keeps of an image. Raises RequestError where a JPEG cannot hold it."""
    if image.dtype != torch.uint8 or len(image) not in (1, 3):
        kind = f"{len(image)} bands of {'8-bit values' if image.dtype == torch.uint8 else 'floats'}"
        raise RequestError(f"augment.jpeg: holds 8-bit grey or RGB; these images have {kind}. Give augment.jpeg=null.")
    return v2.functional.jpeg(image.contiguous(), quality)  # type: ignore[no-any-return]


def _bytes(values: Tensor) -> Tensor:
    """To uint8, by numpy, which takes a fifth of torch's time."""
    return torch.from_numpy(values.numpy().astype(np.uint8))
