"""Strategies that choose among weights after training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import Finetune


class WiseFT(Finetune):
    """Weight-space ensemble of the model at the end of its head-only phase, θ₀, and the fine-tuned one, θ₁:
    (1 − α) θ₀ + α θ₁ for each α of `alphas`, tried on val (Wortsman et al., CVPR 2022).

    There θ₀ is the zero-shot model; a segmentation head has none. α = 1, the fine-tuned model, is always tried.
    """

    def __init__(self, backbone_lr: float, alphas: float | Sequence[float], restart: bool) -> None:
        super().__init__(backbone_lr, restart=restart, needs="heads_first")
        alphas = [alphas] if isinstance(alphas, (int, float)) else list(alphas)
        if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
            raise RequestError(f"strategy.alphas={alphas}: numbers from 0 to 1.")
        self.alphas = tuple(alphas)

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        if not any(parts[name].loaded for name in parts.backbone):
            raise RequestError("strategy=wise_ft mixes with the pretrained model, and nothing was loaded.")
        first, *between, last = super().plan(parts, freeze, epochs).phases
        return Plan((replace(first, keep=True), *between, replace(last, keep=True)))

    def candidates(self, kept: Sequence[Weights]) -> Iterator[tuple[str, Weights]]:
        start, end = kept
        for alpha in dict.fromkeys((*self.alphas, 1.0)):
            mixed = {n: torch.lerp(start[n], v, alpha) if v.is_floating_point() else v for n, v in end.items()}
            yield f"α={alpha:g}", mixed
