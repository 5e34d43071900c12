"""How far a training has gone from where it began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.models.parts import plain
from segrun.models.segmenter import Segmenter

POSITIONS = 4  # a side: of each feature map so many squared averages go into CKA


def drift(model: Segmenter, start: Mapping[str, Tensor]) -> dict[str, float]:
    """‖θ − θ₀‖/‖θ₀‖ of each part's parameters that were there at the start, and were not all zero."""
    before = {plain(name): value for name, value in start.items()}
    now = dict(model.named_parameters())
    found = {}
    for part in model.parts().values():
        names = [p.name for p in part.parameters if plain(p.name) in before]
        then = [before[plain(name)].double() for name in names]
        moved = sum(
            float((now[n].detach().cpu().double() - v).square().sum()) for n, v in zip(names, then, strict=True)
        )
        size = sum(float(v.square().sum()) for v in then)
        if size:
            found[part.name] = (moved / size) ** 0.5
    return found


@torch.no_grad()
def feature_similarity(model: Segmenter, other: Segmenter, images: Iterable[Tensor]) -> list[float]:
    """Linear CKA of each feature map of two models, over batches (B, C, H, W) of the same images. A row is the average
    over one cell of a 4×4 grid over an image."""
    rows: list[tuple[list[Tensor], list[Tensor]]] = []
    for batch in images:
        pair = [m.backbone(m.normalised(batch)) for m in (model.eval(), other.eval())]
        rows.append(tuple([_cells(one) for one in maps] for maps in pair))  # type: ignore[arg-type]
    levels = range(len(rows[0][0]))
    return [linear_cka(*(torch.cat([pair[side][level] for pair in rows]) for side in (0, 1))) for level in levels]


def linear_cka(x: Tensor, y: Tensor) -> float:
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of centred features, (N, C₁) and (N, C₂) (Kornblith et al., ICML 2019)."""
    x, y = (v.double() - v.double().mean(0) for v in (x, y))
    return float((y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()).clamp(min=1e-300))


def _cells(features: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(features.float(), POSITIONS).flatten(2).transpose(1, 2).flatten(0, 1).cpu()
