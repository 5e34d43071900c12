"""How far a trained model is from its start: in its weights (drift) and in its feature maps (linear CKA)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.models.parts import plain_name
from segrun.models.segmenter import Segmenter

GRID = 4  # each feature map is averaged over a grid of 4×4 cells before CKA


def drift(model: Segmenter, start: Mapping[str, Tensor]) -> dict[str, float]:
    """‖θ − θ₀‖/‖θ₀‖ of each part.

    Args:
        model: The trained model.
        start: θ₀, all weights before training by name.

    Returns:
        The relative distance by part, over the parameters that existed at the start. Parts without any, or whose start
        is all zero, are left out.
    """
    before = {plain_name(name): value for name, value in start.items()}
    after = dict(model.named_parameters())
    distances: dict[str, float] = {}
    for part in model.parts().values():
        squared_distance, squared_norm = 0.0, 0.0
        for parameter in part.parameters:
            initial = before.get(plain_name(parameter.name))
            if initial is None:
                continue
            initial = initial.double()
            moved = after[parameter.name].detach().cpu().double() - initial
            squared_distance += float(moved.square().sum())
            squared_norm += float(initial.square().sum())
        if squared_norm > 0:
            distances[part.name] = (squared_distance / squared_norm) ** 0.5
    return distances


@torch.no_grad()
def feature_similarity(model: Segmenter, other: Segmenter, images: Iterable[Tensor]) -> list[float]:
    """Linear CKA of each feature map of two models.

    Args:
        model: A model; it is left in eval mode.
        other: Another model with the same levels; it is left in eval mode.
        images: Batches (B, C, H, W). A sample of CKA is the mean over one of 4×4 cells of an image.

    Returns:
        One number in [0, 1] per level.
    """
    samples: list[list[Tensor]] = []  # by batch, then by level
    other_samples: list[list[Tensor]] = []
    for batch in images:
        samples.append(_level_samples(model, batch))
        other_samples.append(_level_samples(other, batch))
    similarities = []
    for level in range(len(samples[0])):
        features = torch.cat([levels[level] for levels in samples])
        other_features = torch.cat([levels[level] for levels in other_samples])
        similarities.append(linear_cka(features, other_features))
    return similarities


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment, ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) (Kornblith et al., ICML 2019).

    Args:
        x: (N, C₁) features; they are centred.
        y: (N, C₂) features of the same N samples; they are centred.

    Returns:
        A number in [0, 1]; 0 where features are constant.
    """
    x = x.double() - x.double().mean(0)
    y = y.double() - y.double().mean(0)
    norms = (x.T @ x).norm() * (y.T @ y).norm()
    return float((y.T @ x).square().sum() / norms.clamp(min=1e-300))


def _level_samples(model: Segmenter, images: Tensor) -> list[Tensor]:
    """(B · 16, channels) means over cells, for each level."""
    model.eval()
    return [_cell_means(features) for features in model.backbone(model.normalised(images))]


def _cell_means(features: Tensor) -> Tensor:
    means = F.adaptive_avg_pool2d(features.float(), GRID)
    return means.flatten(2).transpose(1, 2).flatten(0, 1).cpu()
