"""Strategies: how the pretrained weights are adapted, and at which relative learning rate."""

from __future__ import annotations

from abc import ABC, abstractmethod

from segrun.errors import RequestError
from segrun.models.parts import Parts
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Learn, Phase, Plan


class Strategy(ABC):
    """Makes the plan from names alone; it never sees the optimizer or the loop."""

    @abstractmethod
    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        """Raises RequestError where the freeze schedule or the model contradicts the strategy."""


class Finetune(Strategy):
    """Everything that the freeze schedule leaves free learns, the backbone at `backbone_lr` of the rate."""

    def __init__(self, backbone_lr: float) -> None:
        if backbone_lr <= 0:
            raise RequestError(f"strategy.backbone_lr={backbone_lr}: above 0; freeze=backbone makes it stand still.")
        self.backbone_lr = backbone_lr

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        backbone = set(parts.backbone)
        phases = []
        for step in freeze(parts, epochs):
            learn = {
                n: Learn(lr_scale=self.backbone_lr if n in backbone else 1.0) for n in parts if n not in step.frozen
            }
            phases.append(Phase(_name(parts, step.frozen), step.epochs, learn))
        return Plan(tuple(phases))


class FeatureExtraction(Finetune):
    """The backbone stands still throughout, only the heads learn."""

    def __init__(self) -> None:
        super().__init__(backbone_lr=1.0)

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        plan = super().plan(parts, freeze, epochs)
        if any(name in phase.learn for phase in plan.phases for name in parts.backbone):
            raise RequestError(
                "strategy=feature_extraction keeps the backbone frozen, but this freeze schedule lets it learn. "
                "Use freeze=backbone, or strategy=finetune."
            )
        return plan


class Scratch(Finetune):
    """The control: the same network and budget from random weights, one rate for all of it."""

    def __init__(self) -> None:
        super().__init__(backbone_lr=1.0)

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        if any(part.loaded for part in parts.values()):
            raise RequestError(
                "strategy=scratch starts from random weights: leave backbone.weights at none, init_from at null."
            )
        return super().plan(parts, freeze, epochs)


def _name(parts: Parts, frozen: frozenset[str]) -> str:
    if not frozen:
        return "all"
    learning = [name for name in parts if name not in frozen]
    return "heads" if not set(parts.backbone) - frozen else f"from {learning[0].removeprefix('backbone.')}"
