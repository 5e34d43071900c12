"""Strategies: what of the pretrained model is adapted, and at which relative learning rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from segrun.errors import RequestError, join_names
from segrun.models.parts import ALL, Kind, Parts, Weights
from segrun.models.segmenter import Segmenter
from segrun.transfer.freeze import FreezeSchedule, FreezeStep
from segrun.transfer.plan import PartSettings, Phase, Plan

NORM: frozenset[Kind] = frozenset(("norm_weight", "norm_bias"))


NEEDS = {
    "heads_first": "this strategy begins with the heads alone and lets the backbone learn later; this freeze schedule "
    "does not. Use freeze=head_first or freeze=gradual, or strategy=finetune.",
    "some_frozen": "this strategy teaches some blocks of the backbone and freezes the others; this freeze schedule "
    "does not. Use freeze=surgical or freeze=stages, or strategy=finetune.",
}


class Strategy(ABC):
    """Makes the plan from names alone; it never sees the optimizer or the loop."""

    def adapt(self, model: Segmenter) -> list[str]:
        """Insert what the strategy adds to a model that has its pretrained weights; returns what to say of it."""
        return []

    @abstractmethod
    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        """Raises RequestError where the freeze schedule or the model contradicts the strategy."""

    def export(self, model: Segmenter) -> None:  # noqa: B027 – most strategies insert nothing
        """Merge what `adapt` has inserted, as far as that can be done exactly: for the checkpoint that is kept."""

    def candidates(self, kept: Sequence[Weights]) -> Iterator[tuple[str, Weights]]:
        """Weights to try after training, with their names. kept: those at the ends of the phases with `keep`, in order.
        Statistics are estimated anew, they are scored on val, and the best are kept, if better than any epoch's."""
        yield from ()


class Finetune(Strategy):
    """Everything that the freeze schedule leaves free learns, the backbone at `backbone_lr` of the rate.

    kinds: of the backbone's parameters just these learn (BitFit: Ben Zaken et al., ACL 2022: the biases; in a ResNet
    only norms have any); null: all. statistics: whether the backbone's norms collect statistics.
    restart: the learning-rate schedule begins anew with each phase (LP-FT: Kumar et al., ICLR 2022).
    later_lr: scale of all rates after the first phase. needs: what the freeze schedule is to do, where the method
    consists in it: "heads_first" or "some_frozen".
    """

    def __init__(
        self,
        backbone_lr: float,
        kinds: Sequence[Kind] | None = None,
        statistics: bool = True,
        restart: bool = False,
        later_lr: float = 1.0,
        needs: str | None = None,
    ) -> None:
        for key, rate in (("backbone_lr", backbone_lr), ("later_lr", later_lr)):
            if rate <= 0:
                raise RequestError(f"strategy.{key}={rate}: above 0; freeze=backbone makes it stand still.")
        if unknown := [kind for kind in kinds or () if kind not in get_args(Kind)]:
            raise RequestError(f"strategy.kinds: {join_names(unknown)}; choose {', '.join(get_args(Kind))}.")
        self.backbone_lr, self.statistics, self.restart, self.later_lr = backbone_lr, statistics, restart, later_lr
        if needs not in (None, *NEEDS):
            raise RequestError(f"strategy.needs={needs}: choose null, {', '.join(NEEDS)}.")
        self.needs = needs
        self.kinds: frozenset[Kind] = ALL if kinds is None else frozenset(kinds)

    def scales(self, parts: Parts) -> Mapping[str, float]:
        """The share of the rate of each part."""
        return {name: self.backbone_lr if name in parts.backbone else 1.0 for name in parts}

    def plan(self, parts: Parts, freeze: FreezeSchedule, epochs: int) -> Plan:
        steps, scales = freeze(parts, epochs), self.scales(parts)
        if "weight" not in self.kinds:
            self._check_kinds(parts, steps)
        frozen = [step.frozen.intersection(parts.backbone) for step in steps]
        every = len(parts.backbone)
        does = {
            "heads_first": len(frozen[0]) == every > len(frozen[-1]),
            "some_frozen": all(0 < len(one) < every for one in frozen),
        }
        if self.needs is not None and not does[self.needs]:
            raise RequestError(NEEDS[self.needs])
        phases = []
        for index, step in enumerate(steps):
            learn = {}
            for name in parts:
                how = self._learn(parts, name, step, scales[name] * (self.later_lr if index else 1.0))
                if any(p.kind in how.kinds for p in parts[name].parameters):
                    learn[name] = how
            phases.append(
                Phase(_name(parts, step), step.epochs, learn, schedule="restart" if self.restart else "continue")
            )
        return Plan(tuple(phases))

    def _learn(self, parts: Parts, name: str, step: FreezeStep, scale: float) -> PartSettings:
        if name in step.frozen:
            return PartSettings(NORM if name in step.thawed else frozenset(), scale, statistics=self.statistics)
        if name not in parts.backbone:
            return PartSettings(lr_scale=scale)
        return PartSettings(self.kinds, scale, statistics=self.statistics and name not in step.resting)

    def _check_kinds(self, parts: Parts, steps: Sequence[FreezeStep]) -> None:
        if any(step.frozen.intersection(parts.backbone) for step in steps):
            raise RequestError(
                f"this strategy adapts the backbone by its {' and '.join(sorted(self.kinds))} parameters alone, all of "
                "them from the first step; a freeze schedule would freeze these, too. Use freeze=none."
            )
        if not any(p.kind in self.kinds for name in parts.backbone for p in parts[name].parameters):
            raise RequestError(f"this backbone has no parameters of the kinds {', '.join(sorted(self.kinds))}.")


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


def _name(parts: Parts, step: FreezeStep) -> str:
    backbone = parts.backbone
    learning = [name for name in backbone if name not in step.frozen]
    if not learning:
        return "heads"
    if not step.frozen:
        return "all"
    if learning == list(backbone[-len(learning) :]):
        return f"from {learning[0].removeprefix('backbone.')}"
    return " ".join(name.removeprefix("backbone.") for name in learning[:3]) + ("…" if len(learning) > 3 else "")
