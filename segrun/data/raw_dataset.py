"""Data sets of raw values: counts, Hounsfield units, reflectances."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from segrun.data.dataset import Dataset, Reader
from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.data.read.raw import Raw, read_raw

FIT_IMAGES = 200  # training images that percentiles are measured on


class RawDataset(Dataset):
    """A data set whose raw values are scaled to [0, 1].

    Attributes:
        intensity: How raw values are scaled, set by the subclass.
    """

    intensity: Intensity

    @abstractmethod
    def raw(self, name: str) -> Raw:
        """Read an image without scaling.

        Returns:
            (channels, H, W), NaN where nothing was measured.

        Raises:
            DataError: It cannot be read.
        """

    @classmethod
    def reader(cls, options: Mapping[str, Any], channels: int) -> Reader:
        intensity = Intensity(IntensitySettings(**options["intensity"]))
        read = cls.raw_reader(options, channels)
        return lambda path: intensity(read(path))

    @classmethod
    def raw_reader(cls, options: Mapping[str, Any], channels: int) -> Callable[[Path], Raw]:
        """The same as `reader`, without scaling."""
        return partial(read_raw, channels=channels, apply_orientation=options.get("exif") != "ignore")

    def image(self, name: str) -> Tensor:
        return self.intensity(self.raw(name))

    def fit(self, names: Sequence[str]) -> tuple[Dataset, Mapping[str, Any]]:
        """Measure percentiles on at most `FIT_IMAGES` of the images, evenly spread over all."""
        if self.intensity.settings.scale != "dataset":
            return self, {}
        indices = np.unique(np.linspace(0, len(names) - 1, FIT_IMAGES).round().astype(int))
        chosen = [names[index] for index in indices]
        fitted = copy.copy(self)
        fitted.intensity = self.intensity.fit(self.raw(name) for name in chosen)
        settings = self.intensity.settings
        ranges = ", ".join(f"{low:.6g}…{high:.6g}" for low, high in fitted.intensity.ends.T)
        percentiles = f"{_to_text(settings.low)} and {_to_text(settings.high)}"
        subset = "the" if len(chosen) == len(names) else f"{len(chosen)} of the {len(names)}"
        note = f"intensity: percentiles {percentiles} of {subset} training images: {ranges}"
        fitted.notes = (*self.notes, note)
        return fitted, {"intensity": fitted.intensity.settings.to_dict()}


def _to_text(percentiles: float | Sequence[float]) -> str:
    if isinstance(percentiles, Sequence):
        return f"[{', '.join(f'{value:g}' for value in percentiles)}]"
    return f"{percentiles:g}"
