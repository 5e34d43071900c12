"""Scaling of raw values (counts, Hounsfield units, reflectances) to [0, 1]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.read.raw import Raw
from segrun.errors import DataError, RequestError
from segrun.ranges import NonEmpty

FIT_PIXELS = 20_000  # of each image that percentiles are measured on
LARGEST_RAW = 1e12  # beyond all counts, Hounsfield units and reflectances
RawValue = Annotated[float, Ge(-LARGEST_RAW), Le(LARGEST_RAW)]


@dataclass(frozen=True)
class IntensitySettings:
    """How raw values are scaled to [0, 1].

    Attributes:
        scale: "fixed": `low` and `high` are raw values. "image": they are percentiles of each image. "dataset": they
            are percentiles over the training images, which are measured once; until then, of each image.
        low: Becomes 0. One number, or one per channel.
        high: Becomes 1. One number, or one per channel.
    """

    scale: Literal["fixed", "image", "dataset"]
    low: RawValue | Annotated[Sequence[RawValue], NonEmpty]
    high: RawValue | Annotated[Sequence[RawValue], NonEmpty]

    def __post_init__(self) -> None:
        try:
            low, high = self.ends()
        except ValueError as error:
            raise RequestError(f"{self._place()}: give one number each, or one per channel.") from error
        if not (low < high).all():
            raise RequestError(f"{self._place()}: low must be below high.")
        if self.scale != "fixed" and not (low.min() >= 0 and high.max() <= 100):
            raise RequestError(f"{self._place()}: with scale={self.scale} they are percentiles from 0 to 100.")

    def ends(self) -> NDArray[np.float64]:
        """`low` and `high` as (2, channels), or (2, 1) where they are the same for all channels."""
        low = np.array(self.low, dtype=np.float64).reshape(-1)
        high = np.array(self.high, dtype=np.float64).reshape(-1)
        return np.stack(np.broadcast_arrays(low, high))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for a config."""
        return {"scale": self.scale, "low": self.low, "high": self.high}

    def _place(self) -> str:
        return f"dataset.intensity.low={self.low} dataset.intensity.high={self.high}"


class Intensity:
    """Scales linearly from `low`…`high` to [0, 1].

    Values outside are clipped, NaN becomes 0. A channel without contrast (low equals high) becomes 0.
    """

    def __init__(self, settings: IntensitySettings) -> None:
        self.settings = settings
        self.ends = settings.ends()

    def __call__(self, values: Raw) -> Tensor:
        """Scale an image.

        Args:
            values: (C, H, W) raw values.

        Returns:
            (C, H, W) float32 in [0, 1].

        Raises:
            RequestError: The settings are for another number of channels.
        """
        ends = self._channel_ends(len(values))
        if self.settings.scale != "fixed":
            ends = np.array([_percentiles(channel, pair) for channel, pair in zip(values, ends.T, strict=True)]).T
        low, high = ends.astype(np.float32)[..., None, None]
        scaled = np.clip((values - low) / np.where(high > low, high - low, np.inf), 0, 1)
        return torch.from_numpy(np.nan_to_num(scaled, copy=False, nan=0).astype(np.float32, copy=False))

    def fit(self, images: Iterable[Raw]) -> Intensity:
        """Measure the percentiles over all values of these images.

        Of each image at most `FIT_PIXELS` pixels are drawn, the same in every run: exact for small images, constant in
        memory per image.

        Returns:
            The intensity with fixed raw values; `self` where the scale is not "dataset".

        Raises:
            DataError: A channel has no contrast, or values that are too large to be written into a config.
        """
        if self.settings.scale != "dataset":
            return self
        generator = np.random.default_rng(0)
        sample = np.concatenate([_sample_pixels(image, generator) for image in images], axis=1)
        percentiles = self._channel_ends(len(sample))
        fitted = [_percentiles(channel, pair) for channel, pair in zip(sample, percentiles.T, strict=True)]
        for channel, (low, high) in enumerate(fitted):
            if not low < high:
                raise DataError(
                    f"channel {channel} of the training images: its {percentiles[0, channel]:g} and "
                    f"{percentiles[1, channel]:g} percentiles are both {low:g}. Widen dataset.intensity.low and high, "
                    "or leave that channel out."
                )
            if max(-low, high) > LARGEST_RAW:
                raise DataError(
                    f"channel {channel} of the training images: its values reach from {low:g} to {high:g}. Save them "
                    f"in a unit in which they stay below {LARGEST_RAW:g}."
                )
        return Intensity(IntensitySettings("fixed", [low for low, _ in fitted], [high for _, high in fitted]))

    def _channel_ends(self, channels: int) -> NDArray[np.float64]:
        """(2, channels)"""
        if self.ends.shape[1] not in (1, channels):
            raise RequestError(
                f"dataset.intensity: low and high have {self.ends.shape[1]} channels, the images have {channels}."
            )
        return np.broadcast_to(self.ends, (2, channels))


def _percentiles(values: NDArray[np.floating[Any]], ends: NDArray[np.float64]) -> tuple[float, float]:
    """(low, high) of the finite values, interpolated linearly; (0, 0) where there are none."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite.astype(np.float64), ends) if finite.size else (0, 0)
    return float(low), float(high)


def _sample_pixels(image: Raw, generator: np.random.Generator) -> Raw:
    """(C, at most `FIT_PIXELS`) of the pixels where something was measured."""
    flat = image.reshape(len(image), -1)
    measured = flat[:, np.isfinite(flat).any(axis=0)]
    if measured.shape[1] > FIT_PIXELS:
        measured = measured[:, generator.choice(measured.shape[1], FIT_PIXELS, replace=False)]
    return measured
