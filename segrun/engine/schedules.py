"""Learning-rate schedules: pure functions of progress. The loop writes base × schedule × scale each step;
there is no state to save, rebuild or step wrongly."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from segrun.errors import RequestError


@dataclass(frozen=True)
class Schedule(ABC):
    """warmup: optimizer steps of linear rise before the curve, at most a tenth of all: short runs need their steps."""

    warmup: int

    def __call__(self, step: int, total: int) -> float:
        """The factor of the base rate at `step`, counted from 0, of `total`."""
        warmup = min(self.warmup, total // 10)
        if step < warmup:
            return (step + 1) / (warmup + 1) * self.curve(0.0)
        return self.curve((step - warmup) / max(1, total - warmup))

    def of(self, segment: int) -> Schedule:
        """The schedule of the n-th curve, where phases begin their own (`restart`)."""
        return self

    @abstractmethod
    def curve(self, t: float) -> float:
        """The factor at t in [0, 1)."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout."""

    def curve(self, t: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Poly(Schedule):
    """(1 − floor)(1 − t)^power + floor (Chen et al., PAMI 2018: power 0.9)."""

    floor: float
    power: float

    def curve(self, t: float) -> float:
        return float((1 - self.floor) * (1 - t) ** self.power + self.floor)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to floor (Loshchilov & Hutter, ICLR 2017)."""

    floor: float

    def curve(self, t: float) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * t)) / 2


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Cosine up from 1/div to 1 over pct_start, cosine down to 1/(div · final_div) (Smith & Topin, 2019).

    Each is a number, or a list of one for each curve where phases begin their own (the last one for the rest).
    """

    pct_start: float | Sequence[float]
    div: float | Sequence[float]
    final_div: float | Sequence[float]

    def __post_init__(self) -> None:
        shares = [self.pct_start] if isinstance(self.pct_start, (int, float)) else list(self.pct_start)
        if not shares or not all(0 < share < 1 for share in shares):
            raise RequestError(f"schedule.pct_start={self.pct_start}: between 0 and 1.")

    def of(self, segment: int) -> OneCycle:
        return OneCycle(self.warmup, *(_at(v, segment) for v in (self.pct_start, self.div, self.final_div)))

    def curve(self, t: float) -> float:
        rise, div, final_div = (_at(v, 0) for v in (self.pct_start, self.div, self.final_div))
        if t < rise:
            return _between(1 / div, 1.0, t / rise)
        return _between(1.0, 1 / (div * final_div), (t - rise) / (1 - rise))


@dataclass(frozen=True)
class SlantedTriangle(Schedule):
    """Linear up over the first `cut` of the steps, linear down over the rest, from and to 1/`ratio` (ULMFiT: Howard &
    Ruder, ACL 2018: cut 0.1, ratio 32)."""

    cut: float
    ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.cut < 1 or self.ratio < 1:
            raise RequestError(f"schedule: cut={self.cut} is between 0 and 1, ratio={self.ratio} at least 1.")

    def curve(self, t: float) -> float:
        p = t / self.cut if t < self.cut else 1 - (t - self.cut) / (1 - self.cut)
        return (1 + p * (self.ratio - 1)) / self.ratio


def _between(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


def _at(value: float | Sequence[float], place: int) -> float:
    return value if isinstance(value, (int, float)) else value[min(place, len(value) - 1)]
