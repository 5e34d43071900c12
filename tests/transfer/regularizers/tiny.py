"""A tiny model with two feature maps, and helpers to compare penalties and their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.heads.head import Head
from segrun.models.segmenter import Output, Segmenter
from segrun.models.weights.report import LoadReport

BACKBONE_WEIGHTS = ("backbone.stem.0.weight", "backbone.fine.weight", "backbone.coarse.weight")
HEAD_WEIGHTS = ("heads.mask.fine.weight", "heads.mask.coarse.weight")
IMAGES = torch.rand(3, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
NO_OUTPUT = Output([], {})


class TwoMaps(Backbone):
    """Two maps, at strides 1 and 2, each a linear layer of a stem with a norm."""

    levels = (Level(3, 1), Level(5, 2))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Tanh())
        self.fine, self.coarse = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 2, stride=2)
        self.stages = {name: [name] for name in ("stem", "fine", "coarse")}

    def forward(self, images: Tensor) -> list[Tensor]:
        stem = self.stem(images)
        return [self.fine(stem), self.coarse(stem)]


class LinearHead(Head):
    """Linear in both maps."""

    levels_used = (0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        scores: Tensor = self.fine(features[0]) + F.interpolate(self.coarse(features[1]), scale_factor=2)
        return scores


def tiny_model() -> Segmenter:
    """Its backbone is reported as loaded."""
    model = Segmenter(TwoMaps(), {"mask": LinearHead()}).double().eval()
    model.report = LoadReport("x", loaded=tuple(model.backbone.state_dict())).prefixed("backbone.")
    return model


def weights_of(model: Segmenter) -> dict[str, Tensor]:
    """A copy."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def move(model: Segmenter) -> None:
    """Change all parameters at random."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def gradients(model: Segmenter, value: Tensor) -> dict[str, Tensor]:
    """Of all parameters that the value depends on."""
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True, retain_graph=True)
    return {name: g for (name, _), g in zip(model.named_parameters(), found, strict=True) if g is not None}


def assert_same_with_gradients(model: Segmenter, value: Tensor, expected: Tensor, rtol: float = 1e-5) -> None:
    """Both values and their gradients are equal, and some gradient is not zero."""
    torch.testing.assert_close(value.double(), expected, rtol=rtol, atol=1e-12)
    found = gradients(model, value)
    assert found and any(g.abs().max() > 0 for g in found.values())
    torch.testing.assert_close(found, gradients(model, expected), rtol=rtol, atol=1e-7)
