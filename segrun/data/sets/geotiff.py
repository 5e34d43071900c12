"""Remote sensing: georeferenced rasters of any size, cut into tiles as they are read (extra `geo`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.raw_dataset import RawDataset
from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.data.read.masks import decode_mask
from segrun.data.sets.classes import Classes, IgnoreIndex, MaskValues, check_ignore_index, guesses_index, read_classes
from segrun.data.sets.files import FileReport, Pair, add_prefix, dataset_root, list_pairs, split_folders
from segrun.data.sets.raster import (
    Window,
    check_headers,
    data_bands,
    georeference_xml,
    has_grid,
    is_full,
    is_georeferenced,
    open_raster,
    read_labels,
    read_raster,
    read_window,
)
from segrun.errors import DataError, RequestError, join_names
from segrun.ranges import NonEmpty, NonNegativeInt, PositiveInt
from segrun.types import VOID, ClassMap, Sample

LAYOUT = "images/ and masks/ with .tif files, or train/, val/ and optionally test/ with both in each"


@dataclass(frozen=True)
class Scene:
    """A raster and its mask; height and width in pixels; whether the headers declare no nodata."""

    image: Path
    mask: Path
    height: int
    width: int
    is_full: bool


class GeoTiff(RawDataset):
    """`root/images/*.tif` and `root/masks/*.tif`: pairs of the same path without suffix, cut into tiles.

    With `root/train|val|test/{images,masks}`, these folders are the split. A tile is named `scene/row_column` of its
    first pixel and is read by itself, never the whole raster. A pixel that is nodata in all bands (nodata value, mask
    band, alpha, NaN) is 0 in the image and VOID in the mask; so is one that the header of the mask calls nodata.

    The sizes of the rasters decide the tiles, so all headers are read here, in about a millisecond per file.

    Args:
        root: The folder.
        classes: As for `Folder`.
        bands: Numbers from 1 in the order of the channels; None for all bands except alpha.
        tile: Side of the tiles in pixels. The last row and column of tiles are moved inward, so that every tile is
            full. A raster smaller than a tile is padded with void.
        overlap: Pixels that neighbouring tiles share. They count twice in scores.
        blocks: None: a drawn split keeps the tiles of a scene together. Otherwise it keeps squares of blocks × blocks
            tiles together, for too few scenes (spatial blocks: Roberts et al., Ecography 2017). They should be wider
            than the distance at which places look alike.
        ignore_index: The value in masks that means "no label", besides their nodata value.
        intensity: How stored values become [0, 1]. Scale and offset in a header are not applied.
        masks: See `MaskValues`.

    Raises:
        MissingExtraError: rasterio is not installed.
        RequestError: `root`, its folders or the classes are missing, `ignore_index` is a class, or the settings of the
            tiles contradict each other.
        DataError: There is no pair that can be used.
    """

    def __init__(
        self,
        root: str | None,
        classes: Classes | None,
        bands: Annotated[Sequence[PositiveInt], NonEmpty] | None,
        tile: PositiveInt,
        overlap: NonNegativeInt,
        blocks: PositiveInt | None,
        ignore_index: IgnoreIndex,
        intensity: IntensitySettings,
        masks: MaskValues = "index",
    ) -> None:
        if overlap >= tile:
            raise RequestError(f"dataset.tile={tile} dataset.overlap={overlap}: the overlap must be below the tile.")
        if blocks is not None and overlap:
            raise RequestError(
                f"dataset.blocks={blocks} dataset.overlap={overlap}: tiles of different blocks would share pixels. "
                "Set dataset.overlap=0."
            )
        self.tile, self.overlap, self.blocks, self.ignore_index = tile, overlap, blocks, ignore_index
        self.root = dataset_root(root)
        self.classes = read_classes(self.root, classes)
        check_ignore_index(self.classes, ignore_index)
        self.intensity = Intensity(intensity)
        report = FileReport()
        splits = split_folders(self.root, "images")
        self.scenes, self.bands = _list_scenes(self._list_pairs(splits, report), self.classes, bands, report)
        if not self.scenes:
            first_problem = report.problems[:1] or [f"It must hold {LAYOUT}."]
            message = f"{self.root}: no pair of image and mask (same name, .tif) can be used."
            raise DataError("\n".join([message, *first_problem]))
        self.channels = len(self.bands)
        small = [name for name, scene in self.scenes.items() if min(scene.height, scene.width) < tile]
        if small:
            report.notes.append(f"{len(small)} scenes smaller than a tile are padded with void: {join_names(small)}")
        has_void = small or not all(scene.is_full for scene in self.scenes.values())
        self.guessed_index = guesses_index(masks, ignore_index) and not has_void
        self.names = tuple(
            f"{name}/{row:06}_{column:06}"
            for name, scene in self.scenes.items()
            for row in self._tile_starts(scene.height)
            for column in self._tile_starts(scene.width)
        )
        self.splits = self.splits_by_prefix(splits)
        self.notes, self.problems = report.notes, report.problems

    @classmethod
    def raw_reader(cls, options: Mapping[str, Any], channels: int) -> Callable[[Path], NDArray[np.float32]]:
        return partial(read_raster, bands=options["bands"], channels=channels)

    @classmethod
    def sidecars(cls, path: Path) -> Mapping[str, str]:
        """The georeference, as GDAL, QGIS and ArcGIS read it beside a PNG of the same size."""
        text = georeference_xml(path)
        return {} if text is None else {".aux.xml": text}

    def group(self, name: str) -> str:
        scene, row, column = parse_tile_name(name)
        if self.blocks is None:
            return scene
        side = self.blocks * self.tile  # a tile moved inward is in the block of the tile that it shares pixels with
        return f"{scene}/block_{row // side}_{column // side}"

    def files(self, name: str) -> tuple[Path, ...]:
        scene, _ = self._scene_window(name)
        return scene.image, scene.mask

    def raw(self, name: str) -> NDArray[np.float32]:
        """(bands, tile, tile) as stored, NaN where a band is nodata."""
        scene, window = self._scene_window(name)
        return self._pad_to_tile(read_window(scene.image, self.bands, window), np.nan)

    def mask(self, name: str) -> Tensor:
        return self._mask(name, self.raw(name))

    def sample(self, name: str) -> Sample:
        values = self.raw(name)  # read once for both
        return Sample(name, self.intensity(values), self._mask(name, values))

    def _mask(self, name: str, values: NDArray[np.float32]) -> Tensor:
        """The mask of a tile with these raw values."""
        scene, window = self._scene_window(name)
        labels, is_valid = read_labels(scene.mask, window)
        mask = decode_mask(np.where(is_valid, labels, 0), scene.mask, self.classes, "index", self.ignore_index)
        mask[torch.from_numpy(~is_valid)] = VOID
        padded = torch.from_numpy(self._pad_to_tile(mask.numpy(), VOID))
        padded[torch.from_numpy(np.isnan(values).all(0))] = VOID
        return padded

    def _pad_to_tile(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """Pad (…, H, W) at the right and the bottom to the size of a tile."""
        padding = [(0, self.tile - length) for length in values.shape[-2:]]
        return np.pad(values, [(0, 0)] * (values.ndim - 2) + padding, constant_values=fill)

    def _tile_starts(self, length: int) -> list[int]:
        """First rows (or columns) of the tiles of a scene."""
        last = max(length - self.tile, 0)
        return [*range(0, last, self.tile - self.overlap), last]

    def _scene_window(self, name: str) -> tuple[Scene, Window]:
        """The scene of a tile, and where the tile is in it."""
        scene_name, row, column = parse_tile_name(name)
        scene = self.scenes[scene_name]
        end_row, end_column = min(row + self.tile, scene.height), min(column + self.tile, scene.width)
        return scene, ((row, end_row), (column, end_column))

    def _list_pairs(self, splits: Sequence[str], report: FileReport) -> dict[str, Pair]:
        pairs: dict[str, Pair] = {}
        for split in splits or [""]:
            folder = self.root / split
            found = list_pairs(folder / "images", folder / "masks", report, suffixes=(".tif", ".tiff"), layout=LAYOUT)
            pairs.update(add_prefix(split, found))
        return pairs


def parse_tile_name(name: str) -> tuple[str, int, int]:
    """A tile's scene, first row and first column."""
    scene, _, position = name.rpartition("/")
    row, column = position.split("_")
    return scene, int(row), int(column)


def _list_scenes(
    pairs: Mapping[str, Pair], classes: ClassMap, bands: Sequence[int] | None, report: FileReport
) -> tuple[dict[str, Scene], tuple[int, ...]]:
    """Read the headers of all pairs. A pair that cannot be used becomes a problem.

    Args:
        pairs: Image and mask of each scene.
        classes: The classes.
        bands: The bands of the user; None for those of the first image, which all others must have then.
        report: Takes problems and notes.

    Returns:
        The scenes that can be used by name, and the bands to read of each.
    """
    scenes: dict[str, Scene] = {}
    dtypes: set[str] = set()
    without_grid: Counter[bool] = Counter()
    chosen = tuple(bands or ())
    for name, (image_file, mask_file) in pairs.items():
        try:
            with open_raster(image_file) as image, open_raster(mask_file) as mask:
                chosen = chosen or data_bands(image)
                _check_bands(image, image_file, chosen, exactly=bands is None)
                check_headers(image, mask, classes)
                scenes[name] = Scene(image_file, mask_file, image.height, image.width, is_full(image) and is_full(mask))
                dtypes.update(image.dtypes)
                if not (has_grid(image) and has_grid(mask)):
                    without_grid[is_georeferenced(image) and is_georeferenced(mask)] += 1
        except DataError as error:
            report.problems.append(str(error))
    if len(dtypes) > 1:
        report.notes.append(f"rasters of several types ({join_names(sorted(dtypes))}), scaled alike")
    for are_placed, count in without_grid.items():
        state = "are placed by GCPs or RPCs" if are_placed else "lack a georeference"
        report.notes.append(f"{count} pairs {state}: only the sizes of image and mask were compared")
    return scenes, chosen


def _check_bands(image: Any, file: Path, bands: Sequence[int], exactly: bool) -> None:
    """exactly: the image must have these bands and no others, apart from alpha."""
    fits = tuple(bands) == data_bands(image) if exactly else set(bands) <= set(image.indexes)
    if not fits:
        raise DataError(
            f"{file}: has {image.count} bands, those of {join_names(bands)} are needed. Choose bands that all files "
            "have: dataset.bands=[…]."
        )
