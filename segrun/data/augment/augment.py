"""Random changes of the training images, image and mask together (torchvision's v2 transforms)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import v2

from segrun.data.augment.appearance import Appearance
from segrun.data.augment.mixing import Mixing
from segrun.data.sizing import Sizing
from segrun.errors import RequestError
from segrun.types import VOID, Sample


class Augment:
    """A window of the image, resized to the size that the network sees; turns, flips; blur, colour, noise, JPEG; and,
    by the loader, which has the other samples, mixing.

    scale: smallest and largest area of the window, as a share of the full window; (1, 1) takes all of it. This is
    scale jitter: half the area shows what is in it √2 times as large.
    stretch: most change of the window's aspect ratio, 1 for none. hflip, vflip: probabilities.
    rotate90: whether quarter turns are drawn (square windows only change nothing but direction).
    colour: strength of brightness, contrast and saturation changes (of grey, RGB and RGBA images);
    blur: probability of a Gaussian blur.
    rotate: most degrees that the window is turned by, either way; beyond the image it is black, and void.
    class_aware: probability that the window is not drawn from everywhere: it is one that (before it is turned) holds
    a pixel, drawn evenly from those of a class drawn evenly from the image's own, so that rare classes are seen.
    noise: largest standard deviation of Gaussian noise, as a share of the values' range. jpeg: lowest and highest
    quality of a JPEG that the image goes through (8-bit grey, RGB and RGBA alone), or None.
    cutmix, copy_paste, mosaic: probabilities, see segrun.data.augment.mixing.

    Raises:
        RequestError: a value outside its range.
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
        # off, as in the config of a run that is older than they are
        rotate: float = 0.0,
        class_aware: float = 0.0,
        noise: float = 0.0,
        jpeg: Sequence[int] | None = None,
        cutmix: float = 0.0,
        copy_paste: float = 0.0,
        mosaic: float = 0.0,
    ) -> None:
        low, high = (float(value) for value in scale)
        if not 0 < low <= high or stretch < 1:
            raise RequestError(f"augment.scale={list(scale)} augment.stretch={stretch}: 0 < low ≤ high, stretch ≥ 1.")
        chances = {
            "hflip": hflip, "vflip": vflip, "blur": blur, "class_aware": class_aware,
            "cutmix": cutmix, "copy_paste": copy_paste, "mosaic": mosaic,
        }  # fmt: skip
        for name, value in chances.items():
            if not 0 <= value <= 1:
                raise RequestError(f"augment.{name}={value}: a probability lies between 0 and 1.")
        for name, value in (("colour", colour), ("noise", noise)):
            if value < 0:
                raise RequestError(f"augment.{name}={value}: a strength is 0 or more.")
        if not 0 <= rotate <= 180:
            raise RequestError(f"augment.rotate={rotate}: degrees, from 0 to 180.")
        self.scale, self.stretch, self.rotate90 = (low, high), stretch, rotate90
        self.hflip, self.vflip, self.rotate, self.class_aware = hflip, vflip, rotate, class_aware
        self.appearance = Appearance(blur, colour, noise, _quality(jpeg))
        self.mixing = Mixing(cutmix, copy_paste, mosaic)

    def __call__(self, sample: Sample, size: Sequence[int] | None) -> Sample:
        """size: (height, width) of the result; None keeps the image's own. All randomness is torch's.

        Raises:
            RequestError: JPEG is asked for and cannot hold such an image.
        """
        image, mask = self._window(sample, tuple(size or sample.mask.shape))
        if self.rotate90 and image.shape[-1] == image.shape[-2]:
            turns = int(torch.randint(4, ()))
            image, mask = (torch.rot90(part, turns, (-2, -1)) for part in (image, mask))
        for chance, axis in ((self.hflip, -1), (self.vflip, -2)):
            if chance and torch.rand(()) < chance:
                image, mask = image.flip(axis), mask.flip(axis)
        return Sample(sample.name, self.appearance(image), mask)

    def _window(self, sample: Sample, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        image, mask = sample.image, sample.mask
        area = _between(*self.scale)
        ratio = math.exp(_between(-math.log(self.stretch), math.log(self.stretch)))
        tall = max(1, round(size[0] * math.sqrt(area / ratio)))
        wide = max(1, round(size[1] * math.sqrt(area * ratio)))
        if size == mask.shape:  # the whole image is the full window: never look beyond it
            tall, wide = min(tall, size[0]), min(wide, size[1])
        short = [0, max(0, wide - mask.shape[1]), 0, max(0, tall - mask.shape[0])]
        if any(short):
            image, mask = pad(image, short), pad(mask, short, value=VOID)
        top, left = self._place(mask, tall, wide)
        if self.rotate:
            image, mask, top, left = _turned(image, mask, (top, left, tall, wide), _between(-self.rotate, self.rotate))
        image, mask = (part[..., top : top + tall, left : left + wide] for part in (image, mask))
        if (tall, wide) == size:
            return image, mask
        fitted = Sizing("resize", (size[0], size[1])).sample(Sample(sample.name, image, mask))
        return fitted.image, fitted.mask

    def _place(self, mask: Tensor, tall: int, wide: int) -> tuple[int, int]:
        """Where a window of this size begins: its top and left."""
        last = (mask.shape[0] - tall, mask.shape[1] - wide)
        ranges = [(0, last[0]), (0, last[1])]
        if self.class_aware and torch.rand(()) < self.class_aware and (pixel := _pixel_of_a_class(mask)):
            ranges = [
                (max(0, at - side + 1), min(at, end)) for at, side, end in zip(pixel, (tall, wide), last, strict=True)
            ]
        top, left = (low + int(torch.randint(high - low + 1, ())) for low, high in ranges)
        return top, left


def _turned(
    image: Tensor, mask: Tensor, window: tuple[int, int, int, int], angle: float
) -> tuple[Tensor, Tensor, int, int]:
    """A window (top, left, height, width) and as much around it as its turned corners reach, turned about its middle
    by `angle` degrees, counter-clockwise; and where it begins in that."""
    top, left, tall, wide = window
    sin, cos = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    down, across = (
        max(0, math.ceil((reach - side) / 2)) + 1
        for reach, side in ((tall * cos + wide * sin, tall), (wide * cos + tall * sin, wide))
    )
    above, before = min(top, down), min(left, across)
    rows, columns = slice(top - above, top + tall + down), slice(left - before, left + wide + across)
    middle = [before + wide / 2, above + tall / 2]
    modes = v2.InterpolationMode
    return (
        v2.functional.rotate(image[:, rows, columns], angle, modes.BILINEAR, center=middle),
        v2.functional.rotate(mask[None, rows, columns], angle, modes.NEAREST, center=middle, fill=VOID)[0],
        above,
        before,
    )


def _pixel_of_a_class(mask: Tensor) -> tuple[int, int] | None:
    """Row and column; None where nothing is labelled."""
    labels = torch.bincount(mask.flatten(), minlength=VOID + 1)[:VOID].nonzero()
    if not len(labels):
        return None
    places = (mask.flatten() == labels[int(torch.randint(len(labels), ()))]).nonzero()
    row, column = divmod(int(places[int(torch.randint(len(places), ()))]), mask.shape[1])
    return row, column


def _quality(jpeg: Sequence[int] | None) -> tuple[int, int] | None:
    if jpeg is None:
        return None
    if len(jpeg) != 2 or not all(isinstance(q, int) for q in jpeg) or not 1 <= jpeg[0] <= jpeg[1] <= 100:
        raise RequestError(f"augment.jpeg={list(jpeg)}: the lowest and the highest quality, from 1 to 100; or null.")
    return jpeg[0], jpeg[1]


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
