"""The contract of a backbone: ordered stages, and one feature map per level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segrun.errors import RequestError
from segrun.models.weights.report import LoadReport
from segrun.models.weights.source import WeightSource


@dataclass(frozen=True)
class Level:
    """One of a backbone's feature maps.

    Attributes:
        channels: Channels of the map.
        stride: Image pixels per position of the map, in each direction.
    """

    channels: int
    stride: int


class Backbone(nn.Module):
    """Base class of feature extractors.

    A constructor that takes `weights` first resolves them (`weights.source.resolve`), which refuses what does not
    exist, and then loads them (`weights.loading.load_weights`), which reads nothing into a network without storage.

    Attributes:
        late_arguments: Constructor arguments that segrun sets, if the class takes them: `in_channels`, the images'
            channels. They are no config keys.
        stages: Part name → paths of its modules and single parameters inside the backbone, input side first. Together
            with `fresh` they hold every parameter exactly once.
        fresh: The same for parts that no pretrained weights have, such as a plain ViT's pyramid. No schedule freezes
            them.
        levels: Channels and stride of each feature map, input side first.
        mean: Mean per channel of the images that the weights were trained on, in [0, 1].
        std: Standard deviation per channel, likewise.
        report: What became of the pretrained weights.
        published: The weights that `weights=imagenet` means, if they are published as a file.
    """

    late_arguments: ClassVar[tuple[str, ...]] = ("in_channels",)

    stages: Mapping[str, Sequence[str]]
    fresh: Mapping[str, Sequence[str]] = {}
    levels: tuple[Level, ...]
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    report: LoadReport = LoadReport("none")
    published: WeightSource | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of normalised images.

        Args:
            images: (B, C, H, W), normalised by `mean` and `std`.

        Returns:
            For each level (B, channels, H / stride, W / stride), rounded up or down.
        """
        raise NotImplementedError

    def dilate(self, output_stride: int) -> None:
        """Keep the deepest maps at a finer stride, by dilation in place of strides (Chen et al., 2017).

        Args:
            output_stride: Largest stride of a map.

        Raises:
            RequestError: This backbone cannot be dilated; it is unchanged.
        """
        raise RequestError(f"backbone.output_stride={output_stride}: {type(self).__name__} cannot be dilated.")

    def keep_levels(self, indices: Iterable[int]) -> None:
        """Remove layers that serve only levels that no head uses, so that every parameter receives a gradient.

        Args:
            indices: Indices of the levels that are used.
        """


def measured_levels(backbone: Backbone, size: int = 64) -> tuple[Level, ...]:
    """Channels and strides of a backbone's maps, read off a forward pass. Strides are powers of two.

    Args:
        backbone: Its mode and its statistics stay as they are.
        size: Height and width of the image, in pixels.
    """
    training = backbone.training
    backbone.eval()
    first = next(backbone.parameters())
    if first.is_meta:  # buffers that were computed from real numbers
        backbone.to("meta")
    with torch.no_grad():
        maps = backbone(torch.zeros(1, len(backbone.mean), size, size, device=first.device, dtype=first.dtype))
    backbone.train(training)
    return tuple(Level(m.shape[1], 2 ** round(math.log2(size / m.shape[-1]))) for m in maps)


def deepest(levels: Sequence[Level]) -> list[int]:
    """The index of the last level of each stride."""
    last = len(levels) - 1
    return [i for i, level in enumerate(levels) if i == last or levels[i + 1].stride != level.stride]


class Weightless(TorchFunctionMode):
    """Inside, tensors have no storage: networks of any size are built at once, to be counted, measured and planned.

    Like torch's meta device, except that the small tensors from which a constructor computes its widths stay real.
    """

    FACTORIES = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.FACTORIES:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
