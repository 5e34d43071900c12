"""Training samples made of several. The partners are drawn from the same randomness as all else of a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segrun.data.sizing import Sizing
from segrun.types import VOID, Sample

Other = Callable[[], Sample]  # another augmented sample of the same size


@dataclass(frozen=True)
class Mixing:
    """Probabilities of the ways to mix; of those that are drawn, mosaic comes first and cutmix last.

    A pixel brings its own label, void too. What is mixed is no longer the image that it was: its name says so, and a
    label that a table gives the image (`image_labels`) is not its own.
    """

    cutmix: float
    copy_paste: float
    mosaic: float

    def __call__(self, sample: Sample, other: Other) -> Sample:
        mixed = sample
        for chance, mix in ((self.mosaic, mosaic), (self.copy_paste, copy_paste), (self.cutmix, cutmix)):
            if chance and float(torch.rand(())) < chance:
                mixed = mix(mixed, other)
        return sample if mixed is sample else Sample(f"{sample.name} (mixed)", mixed.image, mixed.mask)


def cutmix(sample: Sample, other: Other) -> Sample:
    """A rectangle of another sample (Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020): its share of
    the area is drawn evenly, its middle anywhere; what would lie outside is cut off."""
    partner, side = other(), float(torch.rand(())) ** 0.5
    spans = []
    for length in sample.mask.shape:
        middle, half = int(torch.randint(length, ())), round(length * side / 2)
        spans.append(slice(max(0, middle - half), middle + half))
    where = torch.zeros(sample.mask.shape, dtype=torch.bool)
    where[tuple(spans)] = True
    return _pasted(sample, partner, where)


def copy_paste(sample: Sample, other: Other) -> Sample:
    """Each connected region of one label of another sample with probability 1/2 (Ghiasi et al., CVPR 2021, whose
    objects are instances). Class 0, most often the background, is left out, and so is void."""
    partner = other()
    mask = partner.mask.numpy()
    where = np.zeros(mask.shape, bool)
    for label in np.unique(mask):
        if label not in (0, VOID):
            regions, count = ndimage.label(mask == label, np.ones((3, 3)))
            chosen = torch.rand(count + 1).numpy() < 0.5
            chosen[0] = False
            where |= chosen[regions]
    return _pasted(sample, partner, torch.from_numpy(where)) if where.any() else sample


def mosaic(sample: Sample, other: Other) -> Sample:
    """The sample and three others, two by two (Bochkovskiy et al., 2020). Each is shrunk to its part; where they meet
    is drawn from the middle third of both sides."""
    height, width = sample.mask.shape
    y, x = (round(length * (1 + float(torch.rand(()))) / 3) for length in (height, width))
    parts = [sample, other(), other(), other()]
    parts = [parts[place] for place in torch.randperm(4).tolist()]
    sizes = ((y, x), (y, width - x), (height - y, x), (height - y, width - x))
    shrunk = [Sizing("resize", size).sample(part) for size, part in zip(sizes, parts, strict=True)]
    a, b, c, d = alike([part.image for part in shrunk])
    image = torch.cat((torch.cat((a, b), -1), torch.cat((c, d), -1)), -2)
    a, b, c, d = (part.mask for part in shrunk)
    return Sample(sample.name, image, torch.cat((torch.cat((a, b), -1), torch.cat((c, d), -1)), -2))


def _pasted(sample: Sample, partner: Sample, where: Tensor) -> Sample:
    """The partner's pixels where `where` (H, W) says so."""
    new, old = alike([partner.image, sample.image])
    return Sample(sample.name, torch.where(where, new, old), torch.where(where, partner.mask, sample.mask))


def alike(images: list[Tensor]) -> list[Tensor]:
    """Of one type: 8-bit images beside 16-bit ones become float."""
    return images if len({image.dtype for image in images}) == 1 else [as_float(image) for image in images]


def as_float(image: Tensor) -> Tensor:
    return image.float() / 255 if image.dtype == torch.uint8 else image
