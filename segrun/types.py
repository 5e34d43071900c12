"""Plain dataclasses for classes, samples and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# The class index that means "no label here", whatever value the files use. Masks are uint8 inside segrun.
VOID = 255
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassMap:
    """The classes in the order of their indices.

    Attributes:
        names: One name per class.
        palette: One RGB colour per class, for drawing masks.
        colours_given: Whether the user gave the colours, which masks may then hold.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    colours_given: bool = field(default=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, classes: Sequence[str] | Mapping[str, Sequence[int]]) -> ClassMap:
        """Build from class names, or from a mapping of class names to RGB colours.

        Without colours, those of PASCAL VOC are used.
        """
        names = tuple(str(name) for name in classes)
        if not isinstance(classes, Mapping):
            return cls(names, tuple(voc_colour(index) for index in range(len(names))))
        palette = []
        for colour in classes.values():
            red, green, blue, *_ = (int(value) for value in colour)
            palette.append((red, green, blue))
        return cls(names, tuple(palette), colours_given=True)


def voc_colour(index: int) -> Colour:
    """The colour of a class in the palette of PASCAL VOC (Everingham et al., IJCV 2010).

    The bits of the index, three at a time, fill the three channels from the highest bit down.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return (channels[0], channels[1], channels[2])


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        name: Its name in the dataset.
        image: (C, H, W), uint8, or float32 in [0, 1] where the file has more than 8 bits.
        mask: (H, W) uint8 class indices, VOID where there is no label.
    """

    name: str
    image: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Example:
    """An augmented sample with the targets of all tasks.

    Attributes:
        name: The sample's name in the dataset.
        image: As in `Sample`.
        targets: One target per task; the mask has the key "mask".
    """

    name: str
    image: Tensor
    targets: Mapping[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Examples of equal size, stacked.

    Attributes:
        names: One name per image.
        images: (B, C, H, W), values as in `Sample`.
        targets: One stacked target per task; the mask has the key "mask", (B, H, W).
    """

    names: tuple[str, ...]
    images: Tensor
    targets: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.names)


def to_display_rgb(image: Tensor) -> NDArray[np.uint8]:
    """An image for display: the first three channels, or a single channel as grey.

    Args:
        image: (C, H, W), values as in `Sample`.

    Returns:
        (H, W, 3) uint8.
    """
    bytes_ = image if image.dtype == torch.uint8 else (image * 255).round().byte()
    rgb = bytes_[:3] if len(bytes_) >= 3 else bytes_[:1].expand(3, -1, -1)
    return rgb.permute(1, 2, 0).contiguous().numpy()  # type: ignore[no-any-return]
