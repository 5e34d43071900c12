"""Freeze schedules: which parts are frozen in which epochs. They work on names only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Le

from segrun.errors import RequestError
from segrun.models.parts import Parts
from segrun.ranges import NonEmpty, NonNegativeInt, OpenFraction, PositiveInt

NO_PARTS: frozenset[str] = frozenset()
PartIndex = Annotated[int, Ge(-1000), Le(1000)]
Globs = Annotated[Sequence[str], NonEmpty]


@dataclass(frozen=True)
class FreezeStep:
    """Consecutive epochs in which the same parts are frozen.

    Attributes:
        epochs: Number of epochs.
        frozen: The frozen parts.
        trainable_norms: Frozen parts whose norms are trained all the same: scale, shift and statistics.
        frozen_statistics: Trained parts whose norm statistics are frozen.
    """

    epochs: int
    frozen: frozenset[str] = NO_PARTS
    trainable_norms: frozenset[str] = NO_PARTS
    frozen_statistics: frozenset[str] = NO_PARTS


class FreezeSchedule(ABC):
    """Divides the epochs of a run into freeze steps."""

    @abstractmethod
    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        """The steps in order.

        Args:
            parts: The parts of the model.
            epochs: Number of epochs of the run; the epochs of the steps add up to it.

        Raises:
            RequestError: The schedule does not fit the model or the number of epochs.
        """


class NoFreeze(FreezeSchedule):
    """Everything is trained from the first step."""

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        return (FreezeStep(epochs),)


class FreezeBackbone(FreezeSchedule):
    """The whole backbone is frozen, in all epochs or in the first ones.

    Args:
        epochs: Number of epochs, or a fraction of the epochs of the run; None for all.
        thaw_norms: Whether the norms of the backbone are trained all the same (as fastai does).
    """

    def __init__(self, epochs: PositiveInt | OpenFraction | None, thaw_norms: bool = False) -> None:
        self.epochs = epochs
        self.thaw_norms = thaw_norms

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        frozen = frozenset(parts.backbone)
        trainable_norms = frozen if self.thaw_norms else NO_PARTS
        if self.epochs is None:
            return (FreezeStep(epochs, frozen, trainable_norms),)
        frozen_epochs = self._frozen_epochs(epochs)
        return FreezeStep(frozen_epochs, frozen, trainable_norms), FreezeStep(epochs - frozen_epochs)

    def _frozen_epochs(self, epochs: int) -> int:
        assert self.epochs is not None
        if epochs < 2:
            raise RequestError(
                f"freeze.epochs={self.epochs}: divides the run into two phases, which needs trainer.epochs=2 or more; "
                f"trainer.epochs={epochs}."
            )
        is_fraction = 0 < self.epochs < 1
        frozen_epochs = max(1, round(self.epochs * epochs)) if is_fraction else int(self.epochs)
        if not 1 <= frozen_epochs < epochs:
            raise RequestError(
                f"freeze.epochs={self.epochs}: choose 1 to {epochs - 1} of the {epochs} epochs, or a fraction (0.25)."
            )
        return frozen_epochs


class FreezeStages(FreezeSchedule):
    """The stem and the first stages after it are frozen (`frozen_stages` in mmsegmentation).

    Args:
        stages: Number of stages after the stem; 0 freezes the stem alone.
    """

    def __init__(self, stages: NonNegativeInt) -> None:
        self.stages = stages

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        most = len(parts.backbone) - 1
        if not 0 <= self.stages <= most:
            raise RequestError(
                f"freeze.stages={self.stages}: this backbone has a stem and {most} stages. Choose 0 to {most}."
            )
        return (FreezeStep(epochs, frozenset(parts.backbone[: self.stages + 1])),)


class FreezeStatistics(FreezeSchedule):
    """Everything is trained, but the norm statistics of the backbone stay those of the pretrained weights.

    It is `norm_eval` in mmsegmentation, for small batches, whose statistics are noisy.
    """

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        return (FreezeStep(epochs, frozen_statistics=frozenset(parts.backbone)),)


class GradualUnfreeze(FreezeSchedule):
    """First the heads alone are trained, then one more part of the backbone per step, starting at the deepest.

    ULMFiT: Howard and Ruder, ACL 2018, with `every` = 1. In the remaining epochs everything is trained.

    Args:
        every: Epochs per step.
        thaw_norms: Whether the norms of frozen parts are trained from the first step (as fastai does).
    """

    def __init__(self, every: PositiveInt, thaw_norms: bool = False) -> None:
        self.every = every
        self.thaw_norms = thaw_norms

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        backbone = parts.backbone
        remaining = epochs - self.every * len(backbone)
        if remaining < 1:
            raise RequestError(
                f"freeze=gradual needs {self.every * len(backbone) + 1} epochs or more for {len(backbone)} parts at "
                f"freeze.every={self.every}; trainer.epochs={epochs}."
            )
        steps = []
        for frozen_count in range(len(backbone), 0, -1):
            frozen = frozenset(backbone[:frozen_count])
            steps.append(FreezeStep(self.every, frozen, frozen if self.thaw_norms else NO_PARTS))
        return (*steps, FreezeStep(remaining))


class Surgical(FreezeSchedule):
    """Only one block of the backbone is trained, besides what is not in the backbone.

    Lee et al., "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts", ICLR 2023: the first block where the
    images look different, the last where the classes differ.

    Args:
        block: Index of the part, 0 for the stem, -1 for the last; or one or several globs over names of parts.
    """

    def __init__(self, block: PartIndex | str | Globs) -> None:
        self.block = block

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        return (FreezeStep(epochs, frozenset(parts.backbone) - frozenset(self._trained(parts))),)

    def _trained(self, parts: Parts) -> tuple[str, ...]:
        backbone = parts.backbone
        if isinstance(self.block, int):
            if not -len(backbone) <= self.block < len(backbone):
                raise RequestError(f"freeze.block={self.block}: this backbone has the parts 0 to {len(backbone) - 1}.")
            return (backbone[self.block],)
        trained = _matching(parts, self.block)
        if not set(trained).intersection(backbone):
            raise RequestError(
                f"freeze.block={self.block}: matches none of the backbone's parts ({', '.join(backbone)})."
            )
        return trained


@dataclass(frozen=True)
class TrainedFrom:
    """An entry of `Steps`.

    Attributes:
        epoch: First epoch, counted from 0.
        learn: Globs over the names of the parts that are trained from then on; all others are frozen.
    """

    epoch: NonNegativeInt
    learn: str | Globs


class Steps(FreezeSchedule):
    """An explicit list of the parts that are trained from certain epochs on.

    Args:
        steps: In order; the first one starts at epoch 0. In a config:
            `[{epoch: 0, learn: ["head.*"]}, {epoch: 3, learn: ["*"]}]`.
    """

    def __init__(self, steps: Annotated[Sequence[TrainedFrom], NonEmpty]) -> None:
        self.steps = steps

    def __call__(self, parts: Parts, epochs: int) -> tuple[FreezeStep, ...]:
        starts = [step.epoch for step in self.steps]
        spans = list(pairwise([*starts, epochs]))
        if not starts or starts[0] != 0 or any(end <= start for start, end in spans):
            raise RequestError(
                f"freeze.steps: the epochs are {starts}; they must start at 0 and increase, and stay below {epochs}."
            )
        freeze_steps = []
        for step, (start, end) in zip(self.steps, spans, strict=True):
            trained = _matching(parts, step.learn)
            freeze_steps.append(FreezeStep(end - start, frozenset(parts) - frozenset(trained)))
        return tuple(freeze_steps)


def _matching(parts: Parts, globs: str | Sequence[str]) -> tuple[str, ...]:
    return parts.select(*([globs] if isinstance(globs, str) else globs))
