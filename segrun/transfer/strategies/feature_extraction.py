"""Feature extraction: the backbone stays frozen."""

from __future__ import annotations

from segrun.errors import RequestError
from segrun.models.parts import Parts
from segrun.transfer.freeze import FreezeSchedule
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import Finetune


class FeatureExtraction(Finetune):
    """The backbone is frozen in all epochs; only the heads are trained."""

    def __init__(self) -> None:
        super().__init__(backbone_lr=1.0)

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        plan = super().plan(parts, freeze, epochs)
        for phase in plan.phases:
            if not phase.trainable.keys().isdisjoint(parts.backbone):
                raise RequestError(
                    "strategy=feature_extraction keeps the backbone frozen, but this freeze schedule lets it learn. "
                    "Use freeze=backbone, or strategy=finetune."
                )
        return plan
