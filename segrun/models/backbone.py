"""What a backbone is to heads, freezing and rates: an ordered list of stages, each giving one feature map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segrun.errors import RequestError


@dataclass(frozen=True)
class Level:
    """A feature map that a backbone gives: its channels, and how many pixels one position stands for."""

    channels: int
    stride: int


@dataclass(frozen=True)
class LoadReport:
    """What became of the pretrained weights: names of tensors, and where they came from in words."""

    source: str
    loaded: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    share: float = 0.0  # of the backbone's values

    def __str__(self) -> str:
        if not self.loaded:
            return "none: every weight starts at random"
        return (
            f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.new)} new, "
            f"{len(self.unused)} unused; {self.share:.1%} of the backbone"
        )


class Backbone(nn.Module):
    """A backbone sets these and maps (B, 3, H, W) to one feature map a level, input side first.

    stages: part name → paths of its modules inside the backbone; they partition its parameters.
    levels: what each feature map is. mean, std: of the images the weights have seen, in [0, 1].
    """

    stages: Mapping[str, Sequence[str]]
    levels: tuple[Level, ...]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    report: LoadReport = LoadReport("none")

    def forward(self, images: Tensor) -> list[Tensor]:
        raise NotImplementedError


def measured_levels(backbone: nn.Module, size: int = 64) -> tuple[Level, ...]:
    """Channels and strides, read off a forward pass instead of kept in a table."""
    was = backbone.training
    backbone.eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, size, size))
    backbone.train(was)
    return tuple(Level(m.shape[1], round(size / m.shape[-1])) for m in maps)


def load_into(
    module: nn.Module, state: Mapping[str, Tensor], source: str, min_loaded: float, at: Mapping[str, str]
) -> LoadReport:
    """Copy the tensors that fit, by name and shape. `at` maps the module's names to the file's.

    Raises:
        RequestError: less than `min_loaded` of the module's values came from the file.
    """
    own = module.state_dict()
    fits = {
        n: state[at.get(n, n)] for n, v in own.items() if at.get(n, n) in state and state[at.get(n, n)].shape == v.shape
    }
    module.load_state_dict(fits, strict=False)
    values = dict(module.named_parameters())
    share = sum(v.numel() for n, v in values.items() if n in fits) / max(1, sum(v.numel() for v in values.values()))
    used = {at.get(n, n) for n in fits}
    report = LoadReport(
        source,
        tuple(fits),
        tuple(n for n in own if n not in fits),
        tuple(n for n in state if n not in used),
        share,
    )
    if share < min_loaded:
        raise RequestError(
            f"{source}: only {share:.0%} of the backbone's values are in it (backbone.min_loaded={min_loaded}); "
            f"missing or of another shape: {', '.join(report.new[:3])} …. Is it the same architecture?"
        )
    return report
