"""Settings of the rules; see conf/rules/default.yaml."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from annotated_types import Ge, Le

from segrun.ranges import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt

Severity = Literal["error", "warn", "off"]


@dataclass(frozen=True)
class Limits:
    """Numbers from which the rules report a finding.

    Attributes:
        ignored: Fraction of all pixels without a label.
        empty: Fraction of the masks that are background throughout.
        images: Training images of a class below which it is rare.
        distance: Bits of 64 in which the perceptual hashes of similar images may differ.
        pairs: Largest number of similar pairs that are listed.
        stride: The model's output stride.
        kept: Fraction of a class's pixels that must remain at `stride`.
        deviations: How far below the median, in robust standard deviations, an alignment is suspicious.
    """

    ignored: Fraction
    empty: Fraction
    images: NonNegativeInt
    distance: Annotated[int, Ge(0), Le(15)]
    pairs: PositiveInt
    stride: Literal[4, 8, 16, 32]
    kept: Fraction
    deviations: NonNegativeFloat


@dataclass(frozen=True)
class Rules:
    """The severity of each rule, and the limits."""

    pairs: Severity
    unreadable: Severity
    size: Severity
    value: Severity
    swapped: Severity
    mismatched: Severity
    blank: Severity
    jpeg_masks: Severity
    one_value: Severity
    void_masks: Severity
    turned: Severity
    mixed_masks: Severity
    dark: Severity
    ignored: Severity
    class_absent: Severity
    not_in_train: Severity
    missing: Severity
    rare: Severity
    copies_between: Severity
    copies_within: Severity
    contradictory: Severity
    near_between: Severity
    near_within: Severity
    tiny: Severity
    modes: Severity
    sizes: Severity
    split: Severity
    limits: Limits

    @cached_property
    def severities(self) -> dict[str, Severity]:
        """The severity by rule."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "limits"}
