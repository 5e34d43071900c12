"""Finds the pretrained layers of a backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from segrun.models.backbones.backbone import Backbone

MATMUL_LAYERS = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


@dataclass(frozen=True)
class WeightedLayer:
    """A layer that has a weight.

    Attributes:
        path: Of the module in the backbone.
        module: The layer.
        weight: Name of its weight.
        bias: Name of its bias, which may be None.
    """

    path: str
    module: nn.Module
    weight: str
    bias: str


def weighted_layers(backbone: Backbone, types: tuple[type[nn.Module], ...]) -> Iterator[WeightedLayer]:
    """The pretrained layers of these types that have a weight.

    Of an attention layer it is the input projection; its output projection is a linear layer of its own.
    """
    for path, module in pretrained_modules(backbone):
        prefix = "in_proj_" if isinstance(module, nn.MultiheadAttention) else ""
        if isinstance(module, types) and getattr(module, f"{prefix}weight", None) is not None:
            yield WeightedLayer(path, module, f"{prefix}weight", f"{prefix}bias")


def pretrained_modules(backbone: Backbone) -> list[tuple[str, nn.Module]]:
    """The modules of the backbone with their paths, without those that no pretrained weights have."""
    fresh = [path for paths in backbone.fresh.values() for path in paths]
    return [
        (name, module)
        for name, module in backbone.named_modules()
        if not any(name == path or name.startswith(f"{path}.") for path in fresh)
    ]
