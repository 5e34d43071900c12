"""Auto-RGN: the learning rate of each tensor follows its relative gradient norm."""

from __future__ import annotations

from dataclasses import replace

from segrun.models.parts import ALL, Parts, Weights
from segrun.ranges import LRMultiplier
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import NORM, Finetune


class AutoRGN(Finetune):
    """Each tensor has the LR multiplier RGN / max RGN, where RGN = ‖g‖/‖θ‖ is measured at the start of each epoch.

    Lee et al., "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts", ICLR 2023. As in the paper, the norms
    of the backbone are skipped: their scale and shift are frozen, their statistics are collected.

    Args:
        backbone_lr: LR multiplier of the backbone, in addition.
    """

    def __init__(self, backbone_lr: LRMultiplier) -> None:
        super().__init__(backbone_lr, kinds=tuple(ALL - NORM))

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        plan = super().plan(parts, freeze, epochs)
        return Plan(tuple(replace(phase, lr_multipliers=relative_gradient_norms) for phase in plan.phases))


def relative_gradient_norms(weights: Weights, gradients: Weights) -> dict[str, float]:
    """‖g‖/‖θ‖ of each tensor, divided by the largest among the tensors with two or more dimensions.

    A bias or a norm's shift starts near zero, so its relative norm says nothing about the others: it is limited to 1.
    A tensor of zeros gets 1 as well.

    Args:
        weights: By parameter name.
        gradients: By parameter name, for some or all of `weights`.

    Returns:
        An LR multiplier in [0, 1] for each tensor that has a gradient.
    """
    norms = {name: float(weights[name].norm()) for name in gradients}
    ratios = {name: float(g.norm()) / norms[name] for name, g in gradients.items() if norms[name] > 0}
    largest = max((ratio for name, ratio in ratios.items() if weights[name].ndim > 1), default=0.0)
    if not largest:
        return dict.fromkeys(gradients, 1.0)
    return {name: min(1.0, ratios[name] / largest) if name in ratios else 1.0 for name in gradients}
