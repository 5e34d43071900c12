"""Random changes of the training images, of image and mask together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from torch import Tensor
from torch.nn.functional import pad

from segrun.data.augment.appearance import Appearance
from segrun.data.augment.mixing import Mixing
from segrun.data.augment.window import draw_window, rotate_around
from segrun.data.sizing import Sizing
from segrun.errors import RequestError
from segrun.ranges import Fraction
from segrun.types import VOID, Sample

Area = Annotated[float, Gt(0), Le(100)]
JpegQuality = Annotated[int, Ge(1), Le(100)]


class Augment:
    """Draws a window, turns and flips it, and changes its appearance.

    Mixing with other samples is done by the loader, which has them.

    Args:
        scale: Smallest and largest area of the window, as a fraction of the full window; [1, 1] takes all of it. The
            window is resized to the size that the network sees, so half the area shows its content √2 times as large.
        stretch: Largest change of the window's aspect ratio; 1 for none.
        hflip: Probability of a horizontal flip.
        vflip: Probability of a vertical flip.
        rotate90: Whether square windows are turned by 0, 90, 180 or 270 degrees.
        colour: Strength of brightness, contrast and saturation changes, of grey, RGB and RGBA images.
        blur: Probability of a Gaussian blur.
        rotate: Largest angle by which the window is turned, in degrees. Beyond the image it is black, and void.
        class_aware: Probability that the window, before it is turned, holds a pixel of a class that is drawn uniformly
            from the image's classes, so that rare classes are seen.
        noise: Largest standard deviation of Gaussian noise, as a fraction of the range of values.
        jpeg: Lowest and highest quality of a JPEG compression of 8-bit grey, RGB and RGBA images; None for none.
        cutmix: Probability of a rectangle of another sample, see `segrun.data.augment.mixing`.
        copy_paste: Probability of regions of another sample.
        mosaic: Probability of four samples in one.

    Raises:
        RequestError: The limits of `scale` or `jpeg` are in the wrong order.
    """

    def __init__(
        self,
        scale: Annotated[Sequence[Area], MinLen(2), MaxLen(2)],
        stretch: Annotated[float, Ge(1), Le(100)],
        hflip: Fraction,
        vflip: Fraction,
        rotate90: bool,
        colour: Annotated[float, Ge(0), Le(10)],
        blur: Fraction,
        # off in the config of a run that is older than these
        rotate: Annotated[float, Ge(0), Le(180)] = 0.0,
        class_aware: Fraction = 0.0,
        noise: Fraction = 0.0,
        jpeg: Annotated[Sequence[JpegQuality], MinLen(2), MaxLen(2)] | None = None,
        cutmix: Fraction = 0.0,
        copy_paste: Fraction = 0.0,
        mosaic: Fraction = 0.0,
    ) -> None:
        smallest, largest = scale
        if smallest > largest:
            raise RequestError(f"augment.scale={list(scale)}: give the smallest area first.")
        if jpeg is not None and jpeg[0] > jpeg[1]:
            raise RequestError(f"augment.jpeg={list(jpeg)}: give the lowest quality first.")
        self.scale, self.stretch, self.rotate90 = (float(smallest), float(largest)), stretch, rotate90
        self.hflip, self.vflip, self.rotate, self.class_aware = hflip, vflip, rotate, class_aware
        self.appearance = Appearance(blur, colour, noise, None if jpeg is None else (jpeg[0], jpeg[1]))
        self.mixing = Mixing(cutmix, copy_paste, mosaic)

    def __call__(self, sample: Sample, size: Sequence[int] | None) -> Sample:
        """Augment a sample. All randomness is torch's.

        Args:
            sample: The sample.
            size: (height, width) of the result; None for the image's own.

        Raises:
            RequestError: JPEG is requested and cannot store such an image.
        """
        image, mask = self._draw_window(sample, tuple(size or sample.mask.shape))
        if self.rotate90 and image.shape[-1] == image.shape[-2]:
            turns = int(torch.randint(4, ()))
            image, mask = (torch.rot90(part, turns, (-2, -1)) for part in (image, mask))
        for probability, axis in ((self.hflip, -1), (self.vflip, -2)):
            if probability and torch.rand(()) < probability:
                image, mask = image.flip(axis), mask.flip(axis)
        return Sample(sample.name, self.appearance(image), mask)

    def _draw_window(self, sample: Sample, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Image and mask of a window, in the size that the network sees."""
        image, mask = sample.image, sample.mask
        height, width = self._draw_size(size)
        if size == mask.shape:  # the whole image is the full window: never reach beyond it
            height, width = min(height, size[0]), min(width, size[1])
        missing = [0, max(0, width - mask.shape[1]), 0, max(0, height - mask.shape[0])]  # right and bottom
        if any(missing):
            image, mask = pad(image, missing), pad(mask, missing, value=VOID)
        window = draw_window(mask, height, width, self.class_aware)
        if self.rotate:
            angle = _draw_uniform(-self.rotate, self.rotate)
            image, mask, window = rotate_around(image, mask, window, angle)
        image, mask = window.cut(image), window.cut(mask)
        if (height, width) == size:
            return image, mask
        resized = Sizing("resize", (size[0], size[1])).sample(Sample(sample.name, image, mask))
        return resized.image, resized.mask

    def _draw_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of a window whose full size is `size`."""
        area = _draw_uniform(*self.scale)
        ratio = math.exp(_draw_uniform(-math.log(self.stretch), math.log(self.stretch)))
        return max(1, round(size[0] * math.sqrt(area / ratio))), max(1, round(size[1] * math.sqrt(area * ratio)))


def _draw_uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
