"""Strategies whose point is how fast each part, or each tensor, learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from segrun.errors import RequestError
from segrun.models.parts import ALL, Parts, Weights
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import NORM, Finetune


class Discriminative(Finetune):
    """The nearer to the input, the slower: each part of the backbone learns at 1/`factor` of the rate of the next one
    above (Howard & Ruder, ACL 2018: 2.6), or the rates rise geometrically from 1/`span` at the input to 1 at the
    heads (fastai: 100)."""

    def __init__(
        self,
        factor: float | None,
        span: float | None = None,
        restart: bool = False,
        later_lr: float = 1.0,
        needs: str | None = None,
    ) -> None:
        super().__init__(1.0, restart=restart, later_lr=later_lr, needs=needs)
        if (factor is None) == (span is None):
            raise RequestError(f"strategy.factor={factor}, strategy.span={span}: give one of them.")
        if min(v for v in (factor, span) if v is not None) <= 0:
            raise RequestError(f"strategy.factor={factor}, strategy.span={span}: above 0.")
        self.factor, self.span = factor, span

    def scales(self, parts: Parts) -> Mapping[str, float]:
        below = {name: depth for depth, name in enumerate(reversed(parts.backbone), 1)}
        factor = self.factor if self.factor is not None else self.span ** (1 / len(below))  # type: ignore[operator]
        return {name: float(factor) ** -below.get(name, 0) for name in parts}


class LayerDecay(Discriminative):
    """Layer-wise decay: lr · d^k for the k-th part below the heads (BEiT: Bao et al., ICLR 2022: 0.9; MAE: He et al.,
    CVPR 2022: 0.65). A plain ViT's parts are its blocks, other backbones' their stages."""

    def __init__(self, decay: float) -> None:
        if not 0 < decay <= 1:
            raise RequestError(f"strategy.decay={decay}: above 0, at most 1.")
        super().__init__(factor=1 / decay)


class AutoRGN(Finetune):
    """Each tensor at its own rate: lr · RGN / max RGN, where RGN = ‖g‖/‖θ‖ is the relative gradient norm, measured anew
    at each epoch's start (Lee et al., ICLR 2023).

    The backbone's norms are skipped as in the paper: their scale and shift stand still, their statistics are collected.
    """

    def __init__(self, backbone_lr: float) -> None:
        super().__init__(backbone_lr, kinds=tuple(ALL - NORM))

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        plan = super().plan(parts, freeze, epochs)
        return Plan(tuple(replace(phase, rates=relative_gradient_norms) for phase in plan.phases))


def relative_gradient_norms(weights: Weights, gradients: Weights) -> dict[str, float]:
    """‖g‖/‖θ‖ of each tensor, divided by the largest among those of two dimensions and more. A bias or a norm's shift
    begins near zero, so that its relative norm says nothing of the others: it is cut at 1, which is also the rate of
    a tensor of zeros."""
    norms = {name: float(weights[name].norm()) for name in gradients}
    ratios = {name: float(g.norm()) / norms[name] for name, g in gradients.items() if norms[name] > 0}
    most = max((ratio for name, ratio in ratios.items() if weights[name].ndim > 1), default=0.0)
    return {name: min(1.0, ratios[name] / most) if most and name in ratios else 1.0 for name in gradients}
