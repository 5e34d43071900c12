"""Microscopy and other scientific images in folders."""

from __future__ import annotations

from typing import Literal

from segrun.data.raw_dataset import RawDataset
from segrun.data.read.images import Exif
from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.data.read.raw import Raw, read_raw
from segrun.data.sets.classes import Classes, IgnoreIndex
from segrun.data.sets.folder import Folder
from segrun.ranges import PositiveInt


class Microscopy(RawDataset, Folder):
    """A `Folder` whose images hold raw values in any number of channels (see `read_raw`).

    Args:
        root: As for `Folder`.
        classes: As for `Folder`.
        masks: As for `Folder`.
        ignore_index: As for `Folder`.
        allow_unpaired: As for `Folder`.
        channels: Channels of every image.
        intensity: How raw values become [0, 1].
        exif: As for `Folder`. A TIFF whose orientation asks for a turn is refused.

    Raises:
        RequestError: As for `Folder`, or the intensity settings contradict each other.
        DataError: As for `Folder`.
    """

    def __init__(
        self,
        root: str | None,
        classes: Classes | None,
        masks: Literal["auto", "index", "colour", "binary"],
        ignore_index: IgnoreIndex,
        allow_unpaired: bool,
        channels: PositiveInt,
        intensity: IntensitySettings,
        exif: Exif = "apply",
    ) -> None:
        super().__init__(root, classes, masks, ignore_index, allow_unpaired, exif=exif)
        self.channels = channels
        self.intensity = Intensity(intensity)

    def raw(self, name: str) -> Raw:
        return read_raw(self.pairs[name][0], self.channels, self.applies_orientation)
