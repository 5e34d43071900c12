"""Remote sensing: georeferenced rasters of any size, cut into tiles as they are read (extra `geo`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import SPLITS
from segrun.data.read.images import decode_mask
from segrun.data.read.intensity import Intensity, Scaled
from segrun.data.sets.classes import distinct, read_classes
from segrun.data.sets.files import Pair, existing, files_in, paired
from segrun.data.sets.raster import (
    Window,
    bands_of,
    labels_in,
    opened,
    place_of,
    placed,
    refuse_misfit,
    values_in,
    whole,
)
from segrun.errors import DataError, RequestError, join_names
from segrun.types import VOID, Sample

WANTS = "images/ and masks/ with .tif files, or train/, val/ and perhaps test/ with both in each"


@dataclass(frozen=True)
class Scene:
    """A raster and its mask; height and width in pixels."""

    image: Path
    mask: Path
    height: int
    width: int


class GeoTiff(Scaled):
    """`root/images/*.tif` + `root/masks/*.tif`, pairs by their path without suffix; or
    `root/train|val|test/{images,masks}`: then that is the split. A tile is read by itself, never the whole raster, and
    named `scene/row_column` of its first pixel.

    bands: numbers from 1 in the order wanted; None: all but an alpha band. `intensity` scales the values stored: a
    header's own scale and offset are not applied.
    tile: side in pixels; overlap: pixels that neighbours share. The last row and column of tiles are moved inward so
    that every tile is full. What two tiles share counts twice in scores. A raster smaller than a tile is filled up
    with void.
    Nodata: a pixel that is nodata in all bands taken (nodata value, mask band, alpha, NaN) is 0 in the image and VOID
    in the mask; so is one that the mask's own header says is nodata.
    blocks: a drawn split keeps a scene's tiles together; with too few scenes for that, squares of blocks × blocks tiles
    (spatial blocks: Roberts et al., Ecography 2017), which should be wider than what makes near places alike.

    Every header is opened once here, about a millisecond a file, since the sizes decide the tiles.

    Raises:
        RequestError: rasterio, root or classes are missing, or the tiling contradicts itself.
        DataError: no pair that can be read.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        bands: Sequence[int] | None,
        tile: int,
        overlap: int,
        blocks: int | None,
        ignore_index: int,
        intensity: Mapping[str, Any],
    ) -> None:
        if not 0 <= overlap < tile:
            raise RequestError(f"dataset.tile={tile} dataset.overlap={overlap}: 0 ≤ overlap < tile, in pixels.")
        if blocks is not None and (blocks < 1 or overlap):
            raise RequestError(
                f"dataset.blocks={blocks} dataset.overlap={overlap}: blocks are one tile wide or more, and tiles that "
                "overlap would share pixels across them (dataset.overlap=0)."
            )
        if bands is not None and not (bands and all(isinstance(band, int) and band > 0 for band in bands)):
            raise RequestError(f"dataset.bands={list(bands)}: give band numbers from 1, or null for all.")
        self.tile, self.overlap, self.blocks, self.ignore_index = tile, overlap, blocks, ignore_index
        self.root = existing(root)
        self.classes = read_classes(self.root, classes)
        distinct(self.classes, ignore_index)
        self.intensity = Intensity(**intensity)
        self.notes: list[str] = []
        self.problems: list[str] = []
        there = [s for s in SPLITS if (self.root / s / "images").is_dir()]
        self.bands: Sequence[int] = tuple(bands or ())
        self.scenes = self._scenes(self._pairs(there), asked=bands is not None)
        self.channels = len(self.bands)
        self.names = tuple(
            f"{name}/{row:06}_{column:06}"
            for name, scene in self.scenes.items()
            for row in self._starts(scene.height)
            for column in self._starts(scene.width)
        )
        self.splits = self.within(there)

    @classmethod
    def raw_reader(cls, options: Mapping[str, Any], channels: int) -> Callable[[Path], NDArray[np.float32]]:
        return partial(whole, bands=options["bands"], channels=channels)

    @classmethod
    def sidecars(cls, path: Path) -> Mapping[str, str]:
        """Where it lies on the earth, as GDAL, QGIS and ArcGIS read it beside a PNG of its size."""
        text = place_of(path)
        return {} if text is None else {".aux.xml": text}

    def _pairs(self, there: Sequence[str]) -> dict[str, Pair]:
        pairs: dict[str, Pair] = {}
        for split in there or ("",):
            place = (self.root / split / "images", self.root / split / "masks")
            images, masks = (files_in(f, self.notes, self.problems, (".tif", ".tiff"), WANTS) for f in place)
            found = paired(images, masks, place, self.problems, "Complete the pairs.")
            pairs.update({f"{split}/{name}".lstrip("/"): pair for name, pair in found.items()})
        return pairs

    def _scenes(self, pairs: Mapping[str, Pair], asked: bool) -> dict[str, Scene]:
        """From the headers; those that do not fit go to `problems`. asked: the bands are the user's, not the first
        file's."""
        scenes: dict[str, Scene] = {}
        types: set[str] = set()
        placeless = 0
        for name, (image, mask) in pairs.items():
            try:
                with opened(image) as source, opened(mask) as labels:
                    self.bands = self.bands or bands_of(source)
                    if not (set(self.bands) <= set(source.indexes) if asked else self.bands == bands_of(source)):
                        raise DataError(f"{image}: has {source.count} bands, wanted are those of {join_names(self.bands)}.")
                    refuse_misfit(source, labels, self.classes)
                    scenes[name] = Scene(image, mask, source.height, source.width)
                    types.update(source.dtypes)
                    placeless += not (placed(source) and placed(labels))
            except DataError as error:
                self.problems.append(str(error))
        if not scenes:
            first = f"\n{self.problems[0]}" if self.problems else ""
            raise DataError(f"{self.root}: no pair of image and mask (same name, .tif) that can be used.{first}")
        if len(types) > 1:
            self.notes.append(f"rasters of several types ({join_names(sorted(types))}), scaled alike")
        if placeless:
            self.notes.append(f"{placeless} pairs lack a georeference: image and mask were compared by size alone")
        if small := [name for name, scene in scenes.items() if min(scene.height, scene.width) < self.tile]:
            self.notes.append(f"{len(small)} scenes smaller than a tile are filled up with void: {join_names(small)}")
        return scenes

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.tile, 0)
        return [*range(0, last, self.tile - self.overlap), last]

    def _at(self, name: str) -> tuple[Scene, Window]:
        place, row, column = parted(name)
        scene = self.scenes[place]
        return scene, ((row, min(row + self.tile, scene.height)), (column, min(column + self.tile, scene.width)))

    def group(self, name: str) -> str:
        scene, row, column = parted(name)
        if self.blocks is None:
            return scene
        side = self.blocks * self.tile  # a tile moved inward belongs to the block of the one it shares pixels with
        return f"{scene}/block_{row // side}_{column // side}"

    def files(self, name: str) -> tuple[Path, ...]:
        scene, _ = self._at(name)
        return scene.image, scene.mask

    def raw(self, name: str) -> NDArray[np.float32]:
        """(bands, tile, tile) as stored, NaN where a band is nodata."""
        scene, window = self._at(name)
        return self._full(values_in(scene.image, self.bands, window), np.nan)

    def mask(self, name: str) -> Tensor:
        return self._mask(name, self.raw(name))

    def sample(self, name: str) -> Sample:
        values = self.raw(name)  # once for both
        return Sample(name, self.intensity(values), self._mask(name, values))

    def _mask(self, name: str, values: NDArray[np.float32]) -> Tensor:
        scene, window = self._at(name)
        labels, there = labels_in(scene.mask, window)
        mask = decode_mask(np.where(there, labels, 0), scene.mask, self.classes, "index", self.ignore_index)
        mask[torch.from_numpy(~there)] = VOID
        full = torch.from_numpy(self._full(mask.numpy(), VOID))
        full[torch.from_numpy(np.isnan(values).all(0))] = VOID
        return full

    def _full(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """Filled up at the right and the bottom to the size of a tile."""
        short = [(0, self.tile - length) for length in values.shape[-2:]]
        return np.pad(values, [(0, 0)] * (values.ndim - 2) + short, constant_values=fill)


def parted(name: str) -> tuple[str, int, int]:
    """A tile's scene, first row and first column."""
    scene, _, place = name.rpartition("/")
    row, column = place.split("_")
    return scene, int(row), int(column)
