"""What a backbone is to heads, freezing and rates: ordered stages, and one feature map a level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segrun.errors import RequestError
from segrun.models.weights.loading import LoadReport
from segrun.models.weights.sources import Wheel


@dataclass(frozen=True)
class Level:
    """A feature map that a backbone gives: its channels, and how many pixels one position stands for."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """A backbone sets these and maps (B, C, H, W) to one feature map a level, input side first.

    stages: part name → paths of its modules and single parameters inside the backbone, in order; with those of
    `fresh` they partition its parameters. fresh: the same for what no pretrained weights have (the pyramid of a plain
    ViT): parts of their own, which no schedule freezes. levels: what each feature map is. mean, std: of the images
    that the weights have seen, a number a channel, in [0, 1].
    """

    stages: Mapping[str, Sequence[str]]
    fresh: Mapping[str, Sequence[str]] = {}
    levels: tuple[Level, ...]
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    report: LoadReport = LoadReport("none")
    # where the weights are that weights=imagenet asks for: URL (or file name), and the wheel that has them, too
    published: tuple[str, Wheel | None] | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def dilate(self, output_stride: int) -> None:
        """Keep the deepest maps at a stride of 8 or 16, by dilation (Chen et al., 2017) where there are strides.

        Raises:
            RequestError: this backbone cannot be dilated; it is as it was.
        """
        raise RequestError(f"backbone.output_stride={output_stride}: {type(self).__name__} cannot be dilated.")

    def keep_levels(self, indices: Iterable[int]) -> None:
        """The head reads just these levels: what nothing else needs may go."""


def measured_levels(backbone: Backbone, size: int = 64) -> tuple[Level, ...]:
    """Channels and strides, read off a forward pass instead of kept in a table. Strides are powers of two."""
    was = backbone.training
    backbone.eval()
    first = next(backbone.parameters())
    if first.is_meta:  # its buffers may hold what was computed from real numbers
        backbone.to("meta")
    with torch.no_grad():
        maps = backbone(torch.zeros(1, len(backbone.mean), size, size, device=first.device, dtype=first.dtype))
    backbone.train(was)
    return tuple(Level(m.shape[1], 2 ** round(math.log2(size / m.shape[-1]))) for m in maps)


def deepest(levels: Sequence[Level]) -> list[int]:
    """The places of the last level of each stride."""
    return [i for i, level in enumerate(levels) if i + 1 == len(levels) or levels[i + 1].stride != level.stride]


class Weightless(TorchFunctionMode):
    """Inside, tensors are made without storage: networks of any size are built at once, to be counted and measured.

    As torch's meta device, but that small numbers which a constructor computes its widths from stay real.
    """

    MAKES = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {**(kwargs or {}), "device": "meta"} if func in self.MAKES else kwargs or {}
        return func(*args, **kwargs)
