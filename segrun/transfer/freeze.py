"""Freeze schedules: which parts learn, from which epoch. Pure: names in, steps out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from segrun.errors import RequestError
from segrun.models.parts import Parts

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FreezeStep:
    """epochs in which the parts named in `frozen` stand still.

    thawed: those of them whose norms learn all the same, scale, shift and statistics. resting: parts that
    learn while the statistics of their norms stand still.
    """

    epochs: int
    frozen: frozenset[str] = NONE
    thawed: frozenset[str] = NONE
    resting: frozenset[str] = NONE


class FreezeSchedule(ABC):
    """A subclass gives the steps; their epochs add up to the run's."""

    @abstractmethod
    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]: ...


class NoFreeze(FreezeSchedule):
    """Everything learns from the first step."""

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        return (FreezeStep(epochs),)


class FreezeBackbone(FreezeSchedule):
    """The whole backbone stands still: for all epochs (null), for the first so many, or for a share of them.

    thaw_norms: its norms learn all the same (as fastai does).
    """

    def __init__(self, epochs: int | float | None, thaw_norms: bool = False) -> None:
        self.epochs, self.thaw_norms = epochs, thaw_norms

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        frozen = frozenset(parts.backbone)
        thawed = frozen if self.thaw_norms else NONE
        if self.epochs is None:
            return (FreezeStep(epochs, frozen, thawed),)
        if epochs < 2:
            raise RequestError(f"freeze.epochs={self.epochs} parts the run in two phases: trainer.epochs=2 or more.")
        first = max(1, round(self.epochs * epochs)) if 0 < self.epochs < 1 else int(self.epochs)
        if not 1 <= first < epochs or first != self.epochs >= 1:
            raise RequestError(
                f"freeze.epochs={self.epochs}: choose 1 to {epochs - 1} of the {epochs} epochs, or a share (0.25)."
            )
        return FreezeStep(first, frozen, thawed), FreezeStep(epochs - first)


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


class FreezeStatistics(FreezeSchedule):
    """Everything learns, but the statistics of the backbone's norms stand still, those of the weights' own data
    (`norm_eval` in mmsegmentation): for small batches, whose statistics are noise."""

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        return (FreezeStep(epochs, resting=frozenset(parts.backbone)),)


class GradualUnfreeze(FreezeSchedule):
    """From the top: first the heads alone, then every `every` epochs one part of the backbone more, the last
    epochs with everything (ULMFiT: Howard & Ruder, ACL 2018, with every = 1).

    thaw_norms: the norms of frozen parts learn from the first step (as fastai does).
    """

    def __init__(self, every: int, thaw_norms: bool = False) -> None:
        if every < 1:
            raise RequestError(f"freeze.every={every}: at least one epoch a step.")
        self.every, self.thaw_norms = every, thaw_norms

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        backbone = parts.backbone
        rest = epochs - self.every * len(backbone)
        if rest < 1:
            raise RequestError(
                f"freeze=gradual needs {self.every * len(backbone) + 1} epochs or more for {len(backbone)} parts at "
                f"freeze.every={self.every}; trainer.epochs={epochs}."
            )
        frozen = [frozenset(backbone[:count]) for count in range(len(backbone), 0, -1)]
        steps = [FreezeStep(self.every, still, still if self.thaw_norms else NONE) for still in frozen]
        return (*steps, FreezeStep(rest))


class Surgical(FreezeSchedule):
    """Of the backbone just one block learns (Lee et al., ICLR 2023: the first where the images look different,
    the last where the classes do).

    block: its place, 0 for the stem, -1 for the last; or a glob, or several, over the names of parts.
    """

    def __init__(self, block: int | str | Sequence[str]) -> None:
        self.block = block

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        backbone, block = parts.backbone, self.block
        if isinstance(block, int):
            if not -len(backbone) <= block < len(backbone):
                raise RequestError(f"freeze.block={block}: this backbone has the parts 0 to {len(backbone) - 1}.")
            learning: tuple[str, ...] = (backbone[block],)
        else:
            learning = _matching(parts, block)
            if not set(learning).intersection(backbone):
                raise RequestError(f"freeze.block={block}: none of the backbone's parts ({', '.join(backbone)}).")
        return (FreezeStep(epochs, frozenset(backbone) - frozenset(learning)),)


class Steps(FreezeSchedule):
    """From epoch e (counted from 0) the parts learn that these globs match, and no others.

    steps: [{epoch: 0, learn: ["head.*"]}, {epoch: 3, learn: ["*"]}]
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]]) -> None:
        for step in steps:
            known = isinstance(step, Mapping) and set(step) == {"epoch", "learn"}
            if not known or type(step["epoch"]) is not int:
                raise RequestError(f"freeze.steps: {step} is to be {{epoch: <whole number>, learn: [globs]}}.")
        self.steps = steps

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        starts = [int(step["epoch"]) for step in self.steps]
        bounds = [*starts, epochs]
        if not starts or starts[0] != 0 or any(later <= earlier for earlier, later in pairwise(bounds)):
            raise RequestError(f"freeze.steps: epochs {starts}; they start at 0 and rise to less than {epochs}.")
        made = []
        for step, (start, end) in zip(self.steps, pairwise(bounds), strict=True):
            learning = _matching(parts, step["learn"])
            made.append(FreezeStep(end - start, frozenset(parts) - frozenset(learning)))
        return tuple(made)


def _matching(parts: Parts, globs: str | Sequence[str]) -> tuple[str, ...]:
    return parts.select(*([globs] if isinstance(globs, str) else map(str, globs)))
