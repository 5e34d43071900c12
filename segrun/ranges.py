"""Ranges of numbers in settings.

A class that a config builds, or a dataclass of settings, annotates each number with one of these. `config.build` checks
the annotations before it calls the class, so that a constructor needs no range checks of its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

LARGEST = 1e6  # no setting has a sensible value beyond it; a typo such as 1e30 has

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0), Le(LARGEST)]
NonNegativeFloat = Annotated[float, Ge(0), Le(LARGEST)]
Fraction = Annotated[float, Ge(0), Le(1)]  # a share or a probability
PositiveFraction = Annotated[float, Gt(0), Le(1)]
OpenFraction = Annotated[float, Gt(0), Lt(1)]
FractionBelowOne = Annotated[float, Ge(0), Lt(1)]  # dropout, momentum: 1 would leave nothing
LearningRate = Annotated[float, Gt(0), Le(1000)]
LRMultiplier = Annotated[float, Gt(0), Le(1000)]  # factor on the base learning rate
OutputStride = Literal[8, 16, 32]
DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
NonEmpty = MinLen(1)  # Annotated[Sequence[…], NonEmpty]
