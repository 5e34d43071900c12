"""Discriminative fine-tuning: parts near the input are trained at a lower learning rate."""

from __future__ import annotations

from collections.abc import Mapping

from segrun.errors import RequestError
from segrun.models.parts import Parts
from segrun.ranges import LRMultiplier, PositiveFloat
from segrun.transfer.strategies.finetune import Finetune, Needs


class Discriminative(Finetune):
    """The LR multiplier of the backbone's parts falls from the heads to the input.

    Exactly one of `factor` and `span` is given.

    Args:
        factor: The learning rate of each part is that of the next deeper one divided by `factor` (Howard and Ruder,
            ACL 2018: 2.6).
        span: The learning rates rise geometrically from 1/`span` at the input to 1 at the heads (fastai: 100).
        restart: See `Finetune`.
        later_lr: See `Finetune`.
        needs: See `Finetune`.
    """

    def __init__(
        self,
        factor: PositiveFloat | None,
        span: PositiveFloat | None = None,
        restart: bool = False,
        later_lr: LRMultiplier = 1.0,
        needs: Needs | None = None,
    ) -> None:
        super().__init__(1.0, restart=restart, later_lr=later_lr, needs=needs)
        if (factor is None) == (span is None):
            raise RequestError(f"strategy.factor={factor}, strategy.span={span}: give exactly one of them.")
        self.factor = factor
        self.span = span

    def lr_multipliers(self, parts: Parts) -> Mapping[str, float]:
        depths = {name: depth for depth, name in enumerate(reversed(parts.backbone), 1)}  # 1 just below the heads
        if self.factor is not None:
            factor = float(self.factor)
        else:
            assert self.span is not None
            factor = float(self.span ** (1 / len(depths)))
        return {name: factor ** -depths.get(name, 0) for name in parts}
