"""Learning-rate schedules: pure functions of progress. The loop writes base × schedule × scale each step;
there is no state to save, rebuild or step wrongly."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
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
    """Cosine up from 1/div to 1 over pct_start, cosine down to 1/(div · final_div) (Smith & Topin, 2019)."""

    pct_start: float
    div: float
    final_div: float

    def __post_init__(self) -> None:
        if not 0 < self.pct_start < 1:
            raise RequestError(f"schedule.pct_start={self.pct_start}: between 0 and 1.")

    def curve(self, t: float) -> float:
        low, end = 1 / self.div, 1 / (self.div * self.final_div)
        if t < self.pct_start:
            return _between(low, 1.0, t / self.pct_start)
        return _between(1.0, end, (t - self.pct_start) / (1 - self.pct_start))


def _between(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2
