"""Learning-rate schedules: pure functions of progress.

The loop sets learning rate = base × schedule × LR multiplier at each step, so a schedule has no state to save.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le

from segrun.ranges import LARGEST, Fraction, NonEmpty, NonNegativeInt, OpenFraction, PositiveFloat

Ratio = Annotated[float, Ge(1), Le(LARGEST)]


@dataclass(frozen=True)
class Schedule(ABC):
    """A factor on the base learning rate.

    Attributes:
        warmup: Optimizer steps of linear rise before the curve. They take at most a tenth of all steps, since a short
            run needs its steps.
    """

    warmup: NonNegativeInt

    def __call__(self, step: int, total: int) -> float:
        """The factor at a step.

        Args:
            step: Number of the step, from 0.
            total: Number of steps that the schedule spans.
        """
        warmup = min(self.warmup, total // 10)
        if step < warmup:
            return (step + 1) / (warmup + 1) * self.curve(0.0)
        return self.curve((step - warmup) / max(1, total - warmup))

    def of(self, segment: int) -> Schedule:
        """The schedule of the n-th curve, from 0, of a plan whose phases restart the schedule."""
        return self

    @abstractmethod
    def curve(self, t: float) -> float:
        """The factor at progress t in [0, 1), after the warm-up."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The base learning rate throughout."""

    def curve(self, t: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Poly(Schedule):
    """(1 − t)^power from 1 to floor (Liu, Rabinovich, Berg, "ParseNet", 2015).

    Attributes:
        floor: Factor at the end.
        power: Exponent.
    """

    floor: Fraction
    power: PositiveFloat

    def curve(self, t: float) -> float:
        return float((1 - self.floor) * (1 - t) ** self.power + self.floor)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to floor (Loshchilov & Hutter, ICLR 2017).

    Attributes:
        floor: Factor at the end.
    """

    floor: Fraction

    def curve(self, t: float) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * t)) / 2


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Cosine up from 1/div to 1, then cosine down to 1/(div · final_div) (Smith & Topin, 2019).

    Each setting is a number, or a list with one number per curve of a plan whose phases restart the schedule. Further
    curves use the last number.

    Attributes:
        pct_start: Fraction of the steps on the way up.
        div: Ratio of the base learning rate to the first one.
        final_div: Ratio of the first learning rate to the last one.
    """

    pct_start: OpenFraction | Annotated[Sequence[OpenFraction], NonEmpty]
    div: Ratio | Annotated[Sequence[Ratio], NonEmpty]
    final_div: Ratio | Annotated[Sequence[Ratio], NonEmpty]

    def of(self, segment: int) -> OneCycle:
        return replace(
            self,
            pct_start=_entry(self.pct_start, segment),
            div=_entry(self.div, segment),
            final_div=_entry(self.final_div, segment),
        )

    def curve(self, t: float) -> float:
        rise, div, final_div = _entry(self.pct_start, 0), _entry(self.div, 0), _entry(self.final_div, 0)
        if t < rise:
            return _cosine_between(1 / div, 1.0, t / rise)
        return _cosine_between(1.0, 1 / (div * final_div), (t - rise) / (1 - rise))


@dataclass(frozen=True)
class SlantedTriangle(Schedule):
    """Linear up from 1/ratio to 1, then linear down to 1/ratio (ULMFiT: Howard & Ruder, ACL 2018: cut 0.1, ratio 32).

    Attributes:
        cut: Fraction of the steps on the way up.
        ratio: Ratio of the base learning rate to the first and the last one.
    """

    cut: OpenFraction
    ratio: Ratio

    def curve(self, t: float) -> float:
        height = t / self.cut if t < self.cut else 1 - (t - self.cut) / (1 - self.cut)
        return (1 + height * (self.ratio - 1)) / self.ratio


def _cosine_between(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


def _entry(value: float | Sequence[float], index: int) -> float:
    if isinstance(value, int | float):
        return value
    return value[min(index, len(value) - 1)]
