"""Training from scratch: the control."""

from __future__ import annotations

from segrun.errors import RequestError
from segrun.models.parts import Parts
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import Finetune


class Scratch(Finetune):
    """The same network and number of epochs, from random weights, at one learning rate."""

    def __init__(self) -> None:
        super().__init__(backbone_lr=1.0)

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        if any(part.loaded for part in parts.values()):
            raise RequestError(
                "strategy=scratch starts from random weights: leave backbone.weights at none, init_from at null."
            )
        return super().plan(parts, freeze, epochs)
