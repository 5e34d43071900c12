"""Raw values of scientific images – counts, Hounsfield units, reflectances – to [0, 1]."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import Dataset, Reader
from segrun.data.read.raw import Raw, read_raw
from segrun.errors import DataError, RequestError

SCALES = ("fixed", "image", "dataset")
IMAGES = 200  # of the training split, that percentiles are measured on
PIXELS = 20_000  # of each of them


class Intensity:
    """Linear from `low` to `high` to [0, 1]; what lies outside is clipped, NaN becomes 0.

    scale: "fixed": low and high are raw values; "image": percentiles of each image; "dataset": percentiles over the
    training images, which `fit` measures once – until then, of each image. One number, or one a channel. A channel
    without contrast (low equals high) becomes 0.

    Raises:
        RequestError: another scale, low not below high, percentiles outside 0–100.
    """

    def __init__(self, scale: str, low: float | Sequence[float], high: float | Sequence[float]) -> None:
        if scale not in SCALES:
            raise RequestError(f"intensity.scale={scale}: choose {', '.join(SCALES)}.")
        self.scale, self.low, self.high = scale, low, high
        try:
            pairs = np.broadcast_arrays(*(np.array(v, dtype=np.float64).reshape(-1) for v in (low, high)))
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"intensity.low={low} intensity.high={high}: each one number, or one a channel."
            ) from error
        self.ends = np.stack(pairs)  # (2, channels or 1)
        if not (self.ends[0] < self.ends[1]).all():  # NaN, too
            raise RequestError(f"intensity.low={low} intensity.high={high}: low is to be below high.")
        if scale != "fixed" and not ((self.ends >= 0) & (self.ends <= 100)).all():
            raise RequestError(f"intensity.low={low} intensity.high={high}: scale={scale} takes percentiles, 0 to 100.")

    def __call__(self, values: Raw) -> Tensor:
        """(C, H, W) raw → (C, H, W) float32 in [0, 1]. Raises RequestError where it is for other channels."""
        ends = self._for(len(values))
        if self.scale != "fixed":
            ends = np.array([_percentiles(channel, pair) for channel, pair in zip(values, ends.T, strict=True)]).T
        low, high = ends.astype(np.float32)[..., None, None]
        scaled = np.clip((values - low) / np.where(high > low, high - low, np.inf), 0, 1)
        return torch.from_numpy(np.nan_to_num(scaled, copy=False, nan=0).astype(np.float32, copy=False))

    def fit(self, images: Iterable[Raw]) -> Intensity:
        """The fixed one, of percentiles over all these images' values; the other scales have nothing to measure.

        Of each image PIXELS places are drawn, the same in every run: exact for small images, flat in memory for many.

        Raises:
            DataError: a channel without values or without contrast.
        """
        if self.scale != "dataset":
            return self
        rng = np.random.default_rng(0)
        sample = np.concatenate([_drawn(image, rng) for image in images], axis=1)
        ends = self._for(len(sample))
        found = [_percentiles(channel, pair) for channel, pair in zip(sample, ends.T, strict=True)]
        for channel, (low, high) in enumerate(found):
            if not low < high:
                raise DataError(
                    f"channel {channel} of the training images: its {ends[0, channel]:g} and {ends[1, channel]:g} "
                    f"percentiles are both {low:g}. Widen dataset.intensity.low and high, or leave that channel out."
                )
        return Intensity("fixed", [low for low, _ in found], [high for _, high in found])

    def config(self) -> dict[str, Any]:
        """What makes it again, in plain numbers."""
        return {"scale": self.scale, "low": self.low, "high": self.high}

    def _for(self, channels: int) -> NDArray[np.float64]:
        """(2, channels)"""
        if self.ends.shape[1] not in (1, channels):
            raise RequestError(f"intensity: has {self.ends.shape[1]} channels, the images have {channels}.")
        return np.broadcast_to(self.ends, (2, channels))


class Scaled(Dataset):
    """A data set of raw values. A subclass sets `intensity` and reads `raw`."""

    intensity: Intensity

    @abstractmethod
    def raw(self, name: str) -> Raw:
        """(channels, H, W), NaN where nothing was measured. Raises DataError when it cannot be read."""

    @classmethod
    def reader(cls, options: Mapping[str, Any], channels: int) -> Reader:
        intensity, read = Intensity(**options["intensity"]), cls.raw_reader(options, channels)
        return lambda path: intensity(read(path))

    @classmethod
    def raw_reader(cls, options: Mapping[str, Any], channels: int) -> Callable[[Path], Raw]:
        """As `reader`, before scaling."""
        return partial(read_raw, channels=channels)

    def image(self, name: str) -> Tensor:
        return self.intensity(self.raw(name))

    def fit(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Fix the intensity on at most IMAGES of these, evenly chosen."""
        asked = self.intensity
        chosen = [names[place] for place in np.unique(np.linspace(0, len(names) - 1, IMAGES).round().astype(int))]
        self.intensity = asked.fit(self.raw(name) for name in chosen)
        if self.intensity is asked:
            return {}
        ends = ", ".join(f"{low:.6g}…{high:.6g}" for low, high in self.intensity.ends.T)
        percent = " and ".join(str(value) for value in (asked.low, asked.high))
        among = "the" if len(chosen) == len(names) else f"{len(chosen)} of the {len(names)}"
        self.notes = [*self.notes, f"intensity: percentiles {percent} of {among} training images: {ends}"]
        return {"intensity": self.intensity.config()}


def _percentiles(values: NDArray[np.floating[Any]], ends: NDArray[np.float64]) -> tuple[float, float]:
    """(low, high) of what is finite, interpolated linearly; 0 and 0 of nothing."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite.astype(np.float64), ends) if finite.size else (0, 0)
    return float(low), float(high)


def _drawn(image: Raw, rng: np.random.Generator) -> Raw:
    """(C, at most PIXELS) out of the places where something was measured."""
    flat = image.reshape(len(image), -1)
    there = flat[:, np.isfinite(flat).any(axis=0)]
    if there.shape[1] > PIXELS:
        there = there[:, rng.choice(there.shape[1], PIXELS, replace=False)]
    return there
