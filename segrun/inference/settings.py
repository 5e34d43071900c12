"""Settings of `segrun eval` and `segrun predict`. conf/eval.yaml and conf/predict.yaml hold the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from segrun.ranges import DeviceName, FractionBelowOne, PositiveInt, Precision


@dataclass(frozen=True)
class InferenceSettings:
    """How images go through the model.

    Attributes:
        batch_size: Images of equal size per batch.
        device: Where the model runs.
        precision: Precision of the forward pass.
        tile: Side of the sliding window for large images in pixels; None: as trained.
        overlap: Fraction of the window by which neighbouring windows overlap; None: as trained.
    """

    batch_size: PositiveInt
    device: DeviceName
    precision: Precision
    tile: Annotated[int, Ge(32)] | None
    overlap: FractionBelowOne | None


@dataclass(frozen=True)
class PredictSettings(InferenceSettings):
    """What `segrun predict` writes.

    Attributes:
        overlay: Whether to write the image with the mask laid over it.
        confidence: Whether to write the probability of each pixel's class.
        overwrite: Whether to replace files that exist already.
    """

    overlay: bool
    confidence: bool
    overwrite: bool
