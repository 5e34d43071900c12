"""Random changes of the training images, image and mask together (torchvision's v2 transforms)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from segrun.errors import RequestError
from segrun.types import VOID, Sample


class Augment:
    """A window of the image, resized to the size that the network sees; flips; colour; blur.

    scale: smallest and largest area of the window, as a share of the full window; (1, 1) takes all of it.
    stretch: most change of the window's aspect ratio, 1 for none. hflip, vflip: probabilities.
    rotate90: whether quarter turns are drawn (square windows only change nothing but direction).
    colour: strength of brightness, contrast and saturation changes (of grey, RGB and RGBA images);
    blur: probability of a Gaussian blur.

    Raises:
        RequestError: a probability or scale outside its range.
    """

    def __init__(
        self,
        scale: Sequence[float],
        stretch: float,
        hflip: float,
        vflip: float,
        rotate90: bool,
        colour: float,
        blur: float,
    ) -> None:
        low, high = (float(value) for value in scale)
        if not 0 < low <= high or stretch < 1:
            raise RequestError(f"augment.scale={list(scale)} augment.stretch={stretch}: 0 < low ≤ high, stretch ≥ 1.")
        for name, value in (("hflip", hflip), ("vflip", vflip), ("blur", blur)):
            if not 0 <= value <= 1:
                raise RequestError(f"augment.{name}={value}: a probability lies between 0 and 1.")
        if colour < 0:
            raise RequestError(f"augment.colour={colour}: a strength is 0 or more.")
        self.scale, self.stretch, self.rotate90 = (low, high), stretch, rotate90
        steps: list[torch.nn.Module] = []
        if hflip:
            steps.append(v2.RandomHorizontalFlip(hflip))
        if vflip:
            steps.append(v2.RandomVerticalFlip(vflip))
        if blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=blur))
        self.colour = v2.ColorJitter(brightness=colour, contrast=colour, saturation=colour) if colour else None
        self.steps = v2.Compose(steps) if steps else None

    def __call__(self, sample: Sample, size: Sequence[int] | None) -> Sample:
        """size: (height, width) of the result; None keeps the image's own. All randomness is torch's."""
        image: Tensor = tv_tensors.Image(sample.image)
        mask: Tensor = tv_tensors.Mask(sample.mask[None])
        image, mask = self._window(image, mask, tuple(size or image.shape[-2:]))
        if self.rotate90 and image.shape[-1] == image.shape[-2]:
            turns = int(torch.randint(4, ()))
            image, mask = (torch.rot90(part, turns, (-2, -1)) for part in (image, mask))
            image, mask = tv_tensors.Image(image), tv_tensors.Mask(mask)
        if self.steps is not None:
            image, mask = self.steps(image, mask)
        if self.colour is not None and len(image) in (1, 3, 4):  # alpha is no colour, and many bands are none
            image = torch.cat((self.colour(image[:3]), image[3:]))
        return Sample(sample.name, image.as_subclass(Tensor), mask.as_subclass(Tensor)[0])

    def _window(self, image: Tensor, mask: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        area = _between(*self.scale)
        ratio = math.exp(_between(-math.log(self.stretch), math.log(self.stretch)))
        tall = max(1, round(size[0] * math.sqrt(area / ratio)))
        wide = max(1, round(size[1] * math.sqrt(area * ratio)))
        if size == tuple(image.shape[-2:]):  # the whole image is the full window: never look beyond it
            tall, wide = min(tall, size[0]), min(wide, size[1])
        short = [0, 0, max(0, wide - image.shape[-1]), max(0, tall - image.shape[-2])]
        if any(short):
            image, mask = v2.functional.pad(image, short), v2.functional.pad(mask, short, fill=VOID)
        top = int(torch.randint(image.shape[-2] - tall + 1, ()))
        left = int(torch.randint(image.shape[-1] - wide + 1, ()))
        if (tall, wide) == size:
            crop = [top, left, tall, wide]
            return v2.functional.crop(image, *crop), v2.functional.crop(mask, *crop)
        # as a plain tensor, since torchvision resizes a Mask by NEAREST, half a pixel off the image
        window = v2.functional.crop(mask, top, left, tall, wide).as_subclass(Tensor)
        return (
            v2.functional.resized_crop(image, top, left, tall, wide, list(size), antialias=True),
            tv_tensors.Mask(v2.functional.resize(window, list(size), v2.InterpolationMode.NEAREST_EXACT)),
        )


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
