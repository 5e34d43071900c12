"""Freeze schedules: which parts learn, from which epoch. Pure: names in, steps out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from segrun.errors import RequestError
from segrun.models.parts import Parts


@dataclass(frozen=True)
class FreezeStep:
    """epochs in which the parts named in `frozen` stand still."""

    epochs: int
    frozen: frozenset[str] = frozenset()


class FreezeSchedule(ABC):
    """A subclass gives the steps; their epochs add up to the run's."""

    @abstractmethod
    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]: ...


class NoFreeze(FreezeSchedule):
    """Everything learns from the first step."""

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        return (FreezeStep(epochs),)


class FreezeBackbone(FreezeSchedule):
    """The whole backbone stands still: for all epochs, or for the first `epochs`."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        frozen = frozenset(parts.backbone)
        if self.epochs is None:
            return (FreezeStep(epochs, frozen),)
        if not 1 <= self.epochs < epochs:
            raise RequestError(f"freeze.epochs={self.epochs}: choose 1 to {epochs - 1} of the {epochs} epochs.")
        return FreezeStep(self.epochs, frozen), FreezeStep(epochs - self.epochs)


class FreezeStages(FreezeSchedule):
    """The stem and the first `stages` stages after it stand still (the meaning of frozen_stages in
    mmsegmentation: 0 freezes the stem alone)."""

    def __init__(self, stages: int) -> None:
        self.stages = stages

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        most = len(parts.backbone) - 1
        if not 0 <= self.stages <= most:
            raise RequestError(f"freeze.stages={self.stages}: this backbone has a stem and {most} stages.")
        return (FreezeStep(epochs, frozenset(parts.backbone[: self.stages + 1])),)


class GradualUnfreeze(FreezeSchedule):
    """From the top: first the heads alone, then every `every` epochs one part of the backbone more, the last
    epochs with everything (ULMFiT: Howard & Ruder, ACL 2018, with every = 1)."""

    def __init__(self, every: int) -> None:
        if every < 1:
            raise RequestError(f"freeze.every={every}: at least one epoch a step.")
        self.every = every

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        backbone = parts.backbone
        rest = epochs - self.every * len(backbone)
        if rest < 1:
            raise RequestError(
                f"freeze=gradual needs {self.every * len(backbone) + 1} epochs or more for {len(backbone)} parts at "
                f"freeze.every={self.every}; trainer.epochs={epochs}."
            )
        steps = [FreezeStep(self.every, frozenset(backbone[:frozen])) for frozen in range(len(backbone), 0, -1)]
        return (*steps, FreezeStep(rest))
