"""WiSE-FT: fine-tuned weights mixed with those of the head-only phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import torch

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.ranges import Fraction, LRMultiplier, NonEmpty
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import Finetune


class WiseFT(Finetune):
    """Weight-space ensemble (1 − α) θ₀ + α θ₁ of the model after its head-only phase, θ₀, and after training, θ₁.

    Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022, where θ₀ is the zero-shot model; a
    segmentation head has none. Each α is tried on val, and α = 1, the fine-tuned model, always.

    Args:
        backbone_lr: LR multiplier of the backbone.
        alphas: One or several values of α.
        restart: Whether the learning-rate schedule restarts after the head-only phase.
    """

    def __init__(
        self,
        backbone_lr: LRMultiplier,
        alphas: Fraction | Annotated[Sequence[Fraction], NonEmpty],
        restart: bool,
    ) -> None:
        super().__init__(backbone_lr, restart=restart, needs="heads_first")
        self.alphas = (alphas,) if isinstance(alphas, (int, float)) else tuple(alphas)

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        if not any(parts[name].loaded for name in parts.backbone):
            raise RequestError(
                "strategy=wise_ft mixes with the pretrained model, and nothing was loaded. Load weights "
                "(backbone.weights=imagenet), or use strategy=scratch."
            )
        first, *between, last = super().plan(parts, freeze, epochs).phases
        return Plan((replace(first, keep_weights=True), *between, replace(last, keep_weights=True)))

    def candidates(self, kept: Sequence[Weights]) -> Iterator[tuple[str, Weights]]:
        start, end = kept
        for alpha in dict.fromkeys((*self.alphas, 1.0)):
            yield f"α={alpha:g}", _interpolate(start, end, alpha)


def _interpolate(start: Weights, end: Weights, alpha: float) -> Weights:
    """(1 − α) start + α end; whole-number buffers are those of `end`."""
    mixed = {}
    for name, value in end.items():
        mixed[name] = torch.lerp(start[name], value, alpha) if value.is_floating_point() else value
    return mixed
