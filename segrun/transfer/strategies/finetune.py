"""Fine-tuning: the pretrained weights are trained further, and variants that need only other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from segrun.errors import RequestError
from segrun.models.parts import ALL, Kind, Parts
from segrun.ranges import LRMultiplier, NonEmpty
from segrun.transfer.freeze import FreezeSchedule, FreezeStep
from segrun.transfer.plan import PartSettings, Phase, Plan
from segrun.transfer.strategies.strategy import Strategy

NORM: frozenset[Kind] = frozenset(("norm_weight", "norm_bias"))

Needs = Literal["heads_first", "some_frozen"]
UNMET: Mapping[Needs, str] = {
    "heads_first": "this strategy trains the heads alone first and the backbone later; this freeze schedule does not. "
    "Use freeze=head_first or freeze=gradual, or strategy=finetune.",
    "some_frozen": "this strategy trains some parts of the backbone and freezes the others; this freeze schedule does "
    "not. Use freeze=surgical or freeze=stages, or strategy=finetune.",
}


class Finetune(Strategy):
    """Everything that the freeze schedule does not freeze is trained, the backbone at its own learning rate.

    Args:
        backbone_lr: LR multiplier of the backbone.
        kinds: Only these kinds of the backbone's parameters are trained (BitFit: Ben Zaken et al., ACL 2022: the
            biases; in a ResNet only norms have any); None for all.
        statistics: Whether the backbone's norms collect batch statistics.
        restart: Whether the learning-rate schedule restarts with each phase (LP-FT: Kumar et al., ICLR 2022).
        later_lr: LR multiplier of all parts after the first phase.
        needs: What the freeze schedule must do for the method to make sense: train the heads alone first
            ("heads_first"), or freeze some but not all parts of the backbone ("some_frozen"); None for no condition.
    """

    def __init__(
        self,
        backbone_lr: LRMultiplier,
        kinds: Annotated[Sequence[Kind], NonEmpty] | None = None,
        statistics: bool = True,
        restart: bool = False,
        later_lr: LRMultiplier = 1.0,
        needs: Needs | None = None,
    ) -> None:
        self.backbone_lr = backbone_lr
        self.kinds: frozenset[Kind] = ALL if kinds is None else frozenset(kinds)
        self.statistics = statistics
        self.restart = restart
        self.later_lr = later_lr
        self.needs = needs

    def lr_multipliers(self, parts: Parts) -> Mapping[str, float]:
        """The LR multiplier of each part."""
        return {name: self.backbone_lr if name in parts.backbone else 1.0 for name in parts}

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        steps = freeze(parts, epochs)
        lr_multipliers = self.lr_multipliers(parts)
        if "weight" not in self.kinds:
            self._check_kinds(parts, steps)
        if self.needs is not None and not _does(self.needs, parts, steps):
            raise RequestError(UNMET[self.needs])
        phases = []
        for index, step in enumerate(steps):
            later_lr = self.later_lr if index else 1.0
            phases.append(
                Phase(
                    _phase_name(parts, step),
                    step.epochs,
                    self._trainable(parts, step, {name: lr * later_lr for name, lr in lr_multipliers.items()}),
                    schedule="restart" if self.restart else "continue",
                )
            )
        return Plan(tuple(phases))

    def _trainable(
        self, parts: Parts, step: FreezeStep, lr_multipliers: Mapping[str, float]
    ) -> dict[str, PartSettings]:
        """The settings of the parts with a parameter that is trained during this step."""
        trainable = {}
        for name, part in parts.items():
            settings = self._settings(name in parts.backbone, name, step, lr_multipliers[name])
            if any(parameter.kind in settings.kinds for parameter in part.parameters):
                trainable[name] = settings
        return trainable

    def _settings(self, in_backbone: bool, name: str, step: FreezeStep, lr_multiplier: float) -> PartSettings:
        if name in step.frozen:
            kinds: frozenset[Kind] = NORM if name in step.trainable_norms else frozenset()
            return PartSettings(kinds, lr_multiplier, statistics=self.statistics)
        if not in_backbone:
            return PartSettings(lr_multiplier=lr_multiplier)
        statistics = self.statistics and name not in step.frozen_statistics
        return PartSettings(self.kinds, lr_multiplier, statistics=statistics)

    def _check_kinds(self, parts: Parts, steps: Sequence[FreezeStep]) -> None:
        kinds = sorted(self.kinds)
        if any(step.frozen.intersection(parts.backbone) for step in steps):
            raise RequestError(
                f"this strategy trains only the {' and '.join(kinds)} parameters of the backbone, all of them from the "
                "first step; a freeze schedule would freeze these, too. Use freeze=none."
            )
        if not any(p.kind in self.kinds for name in parts.backbone for p in parts[name].parameters):
            raise RequestError(f"this backbone has no parameters of the kinds {', '.join(kinds)}.")


def _does(needs: Needs, parts: Parts, steps: Sequence[FreezeStep]) -> bool:
    """Whether the freeze schedule does what the strategy needs."""
    total = len(parts.backbone)
    frozen_counts = [len(step.frozen.intersection(parts.backbone)) for step in steps]
    if needs == "heads_first":
        return frozen_counts[0] == total and frozen_counts[-1] < total
    return all(0 < count < total for count in frozen_counts)


def _phase_name(parts: Parts, step: FreezeStep) -> str:
    """ "heads", "all", "from layer3", or the first trained parts of the backbone."""
    backbone = parts.backbone
    trained = [name for name in backbone if name not in step.frozen]
    if not trained:
        return "heads"
    if not step.frozen:
        return "all"
    stages = [name.removeprefix("backbone.") for name in trained]
    if trained == list(backbone[-len(trained) :]):
        return f"from {stages[0]}"
    return " ".join(stages[:3]) + ("…" if len(stages) > 3 else "")
