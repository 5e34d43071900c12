"""Settings of the splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from segrun.errors import RequestError
from segrun.ranges import Fraction, NonNegativeInt


@dataclass(frozen=True)
class SplitSettings:
    """How images without an official split are divided.

    Attributes:
        train: Fraction of the images.
        val: Fraction of the images.
        test: Fraction of the images.
        seed: Seed of the draw. The training has another, so that the test images stay the same over its seeds.
        stratify: Whether every split gets its share of the images of each class.
        folds: Number of folds that the images outside test are divided into; null for no cross-validation.
        fold: The fold that is val, from 0.
        groups: What keeps images together: "folder", a CSV file with the columns image and group, or a regular
            expression that is searched in the names. null: what the data set says.
        file: A run's split.json, or a folder with train.txt, val.txt and perhaps test.txt.
    """

    train: Fraction
    val: Fraction
    test: Fraction
    seed: NonNegativeInt
    stratify: bool
    folds: Annotated[int, Ge(2)] | None
    fold: NonNegativeInt
    groups: str | None
    file: str | None

    def __post_init__(self) -> None:
        if self.fold >= (self.folds or 1):
            raise RequestError(
                f"split.folds={self.folds} split.fold={self.fold}: folds are counted from 0, so fold must be less "
                "than folds. Without folds it must be 0."
            )
