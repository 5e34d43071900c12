"""Plain dataclasses that every room knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# The one value that means "no label here", whatever value the files use. Masks are uint8 inside segrun.
VOID = 255
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassMap:
    """The classes in the order of their indices, with the colours they are drawn in."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, classes: Sequence[str] | Mapping[str, Sequence[int]]) -> ClassMap:
        """From names, or from names with colours; colours not given are PASCAL VOC's."""
        names = tuple(str(name) for name in classes)
        if isinstance(classes, Mapping):
            given = [tuple(int(v) for v in colour) for colour in classes.values()]
            return cls(names, tuple((c[0], c[1], c[2]) for c in given))
        return cls(names, tuple(voc_colour(index) for index in range(len(names))))


def voc_colour(index: int) -> Colour:
    """The colour of a class in PASCAL VOC's palette (Everingham et al., IJCV 2010): the bits of the index,
    three at a time, fill the channels from the highest bit down."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return (channels[0], channels[1], channels[2])


@dataclass(frozen=True)
class Sample:
    """One labelled image. image: (C, H, W), uint8, or float32 in [0, 1] where the file has more than 8 bits;
    mask: (H, W) uint8 class indices, VOID where there is no label."""

    name: str
    image: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Example:
    """A sample as the training sees it. targets: of each task, the mask under "mask"."""

    name: str
    image: Tensor
    targets: Mapping[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """images: (B, C, H, W) as in Sample; targets: of each task, the mask under "mask", (B, H, W)."""

    names: tuple[str, ...]
    images: Tensor
    targets: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.names)


def for_the_eye(image: Tensor) -> NDArray[np.uint8]:
    """(C, H, W) as in Sample → (H, W, 3) uint8: the first three channels, or the only one as grey."""
    eight = image if image.dtype == torch.uint8 else (image * 255).round().byte()
    shown = eight[:3] if len(eight) >= 3 else eight[:1].expand(3, -1, -1)
    return shown.permute(1, 2, 0).contiguous().numpy()  # type: ignore[no-any-return]
