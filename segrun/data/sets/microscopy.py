"""Microscopy and other scientific images in folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segrun.data.read.intensity import Intensity, Scaled
from segrun.data.read.raw import Raw, read_raw
from segrun.data.sets.folder import Folder
from segrun.errors import RequestError


class Microscopy(Scaled, Folder):
    """A `Folder` whose images hold raw values in any number of channels (see `read_raw`).

    channels: of every image; intensity: how raw values become [0, 1] (see `Intensity`).

    Raises:
        RequestError: as `Folder` and `Intensity`, or no channels.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        masks: str,
        ignore_index: int,
        allow_unpaired: bool,
        channels: int,
        intensity: Mapping[str, Any],
    ) -> None:
        if channels < 1:
            raise RequestError(f"dataset.channels={channels}: is 1 or more.")
        super().__init__(root, classes, masks, ignore_index, allow_unpaired)
        self.channels = channels
        self.intensity = Intensity(**intensity)

    def raw(self, name: str) -> Raw:
        return read_raw(self.pairs[name][0], self.channels)
