"""Training samples mixed from several. The partners are drawn from the same random state as the rest of a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Tensor

from segrun.data.sizing import Sizing
from segrun.types import VOID, Sample

DrawPartner = Callable[[], Sample]  # another augmented sample of the same size


@dataclass(frozen=True)
class Mixing:
    """Mixes a sample with others. Several ways may apply to one sample: mosaic first, cutmix last.

    A pixel keeps its label, including void. A mixed sample is no longer the image that it was: its name says so, and a
    table of image labels (`image_labels`) does not apply to it.

    Attributes:
        cutmix: Probability of a rectangle of another sample.
        copy_paste: Probability of regions of another sample.
        mosaic: Probability of four samples in one.
    """

    cutmix: float
    copy_paste: float
    mosaic: float

    def __call__(self, sample: Sample, draw_partner: DrawPartner) -> Sample:
        """Mix a sample, if it is drawn to be mixed; otherwise it is returned as it is."""
        mixed = sample
        for probability, mix in ((self.mosaic, mosaic), (self.copy_paste, copy_paste), (self.cutmix, cutmix)):
            if probability and float(torch.rand(())) < probability:
                mixed = mix(mixed, draw_partner)
        return sample if mixed is sample else Sample(f"{sample.name} (mixed)", mixed.image, mixed.mask)


def cutmix(sample: Sample, draw_partner: DrawPartner) -> Sample:
    """Paste a rectangle of another sample (Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020).

    Its share of the area is drawn uniformly, its centre from the whole sample. What would lie outside is cut off.
    """
    partner = draw_partner()
    side = float(torch.rand(())) ** 0.5  # as a fraction of the sample's
    rectangle = []
    for length in sample.mask.shape:
        centre, half = int(torch.randint(length, ())), round(length * side / 2)
        rectangle.append(slice(max(0, centre - half), centre + half))
    pasted = torch.zeros(sample.mask.shape, dtype=torch.bool)
    pasted[tuple(rectangle)] = True
    return _paste(sample, partner, pasted)


def copy_paste(sample: Sample, draw_partner: DrawPartner) -> Sample:
    """Paste each connected region of a class of another sample with probability 1/2.

    From Ghiasi et al. (CVPR 2021), who paste instances. Class 0, which usually is the background, and void are left
    out.
    """
    partner = draw_partner()
    mask = partner.mask.numpy()
    pasted = np.zeros(mask.shape, bool)
    for label in np.unique(mask):
        if label in (0, VOID):
            continue
        regions, count = scipy.ndimage.label(mask == label, np.ones((3, 3)))
        chosen = torch.rand(count + 1).numpy() < 0.5
        chosen[0] = False  # region 0 is the rest of the mask
        pasted |= chosen[regions]
    return _paste(sample, partner, torch.from_numpy(pasted)) if pasted.any() else sample


def mosaic(sample: Sample, draw_partner: DrawPartner) -> Sample:
    """Arrange the sample and three others two by two (Bochkovskiy et al., 2020).

    Each is shrunk to its part. The point where they meet is drawn from the middle third of both sides.
    """
    height, width = sample.mask.shape
    top, left = (round(length * (1 + float(torch.rand(()))) / 3) for length in (height, width))
    samples = [sample, draw_partner(), draw_partner(), draw_partner()]
    order = torch.randperm(4).tolist()
    sizes = ((top, left), (top, width - left), (height - top, left), (height - top, width - left))
    parts = [Sizing("resize", size).sample(samples[index]) for size, index in zip(sizes, order, strict=True)]
    image = _join_2x2(match_dtypes([part.image for part in parts]))
    mask = _join_2x2([part.mask for part in parts])
    return Sample(sample.name, image, mask)


def _join_2x2(parts: Sequence[Tensor]) -> Tensor:
    """Top left, top right, bottom left and bottom right as one."""
    top_left, top_right, bottom_left, bottom_right = parts
    return torch.cat((torch.cat((top_left, top_right), -1), torch.cat((bottom_left, bottom_right), -1)), -2)


def _paste(sample: Sample, partner: Sample, pasted: Tensor) -> Sample:
    """The partner's pixels where `pasted`, (H, W) bool, is true."""
    partner_image, image = match_dtypes([partner.image, sample.image])
    return Sample(
        sample.name,
        torch.where(pasted, partner_image, image),
        torch.where(pasted, partner.mask, sample.mask),
    )


def match_dtypes(images: Sequence[Tensor]) -> list[Tensor]:
    """Images of one type: 8-bit images among 16-bit ones become float."""
    if len({image.dtype for image in images}) == 1:
        return list(images)
    return [to_float(image) for image in images]


def to_float(image: Tensor) -> Tensor:
    """The image as float32 in [0, 1]."""
    return image.float() / 255 if image.dtype == torch.uint8 else image
