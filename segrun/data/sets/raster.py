"""Georeferenced raster files: headers that fit each other, and reading by window (rasterio, extra `geo`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError, import_extra
from segrun.types import ClassMap

Window = tuple[tuple[int, int], tuple[int, int]]  # rows and columns, ends excluded
APART = 0.01  # of a pixel: how far the corners of a mask may lie from those of its image


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opened for this one reading: threads may not share a raster, nor processes inherit one.

    Raises:
        RequestError: rasterio is not installed.
        DataError: the file cannot be read.
    """
    rasterio = import_extra("rasterio", "geo")
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)  # the data set counts them
    try:
        with rasterio.open(path) as raster:
            yield raster
    except rasterio.errors.RasterioError as error:
        raise DataError(f"{path}: cannot be read as a raster ({str(error).splitlines()[0]}).") from error


def values_in(path: Path, bands: Sequence[int], window: Window) -> NDArray[np.float32]:
    """(bands, H, W) as stored, NaN where a band is nodata by nodata value, mask band or alpha."""
    with opened(path) as raster:
        values: NDArray[np.float32] = raster.read(bands, window=window, out_dtype="float32")
        there = raster.read_masks(bands, window=window) > 0
        for alpha in set(raster.indexes) - set(bands_of(raster)):  # GDAL heeds it beside one or three bands only
            there &= raster.read(alpha, window=window) > 0
    values[~there | ~np.isfinite(values)] = np.nan
    return values


def whole(path: Path, bands: Sequence[int] | None, channels: int) -> NDArray[np.float32]:
    """A raster at once, as `values_in`. bands: None for all but alpha, of which there are to be `channels`.

    Raises:
        DataError: it has other bands.
    """
    with opened(path) as raster:
        wanted = tuple(bands or bands_of(raster))
        if not set(wanted) <= set(raster.indexes) or len(wanted) != channels:
            raise DataError(f"{path}: has {raster.count} bands, {channels} are wanted.")
        window = ((0, raster.height), (0, raster.width))
    return values_in(path, wanted, window)


def labels_in(path: Path, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(H, W) values of a mask, and where they are not nodata."""
    with opened(path) as raster:
        return raster.read(1, window=window).astype(np.int64), raster.read_masks(1, window=window) > 0


def bands_of(raster: Any) -> tuple[int, ...]:
    """All but an alpha band, which says where the others are nodata."""
    return tuple(b for b, colour in zip(raster.indexes, raster.colorinterp, strict=True) if colour.name != "alpha")


def placed(raster: Any) -> bool:
    """Whether its header says where it lies."""
    return not raster.transform.is_identity


def place_of(path: Path) -> str | None:
    """A raster's grid and reference system as GDAL's auxiliary metadata (PAM), for a picture of its size without a
    header of its own; None where it has none."""
    with opened(path) as raster:
        if not placed(raster):
            return None
        pam = ElementTree.Element("PAMDataset")
        if raster.crs:
            ElementTree.SubElement(pam, "SRS").text = raster.crs.to_wkt()
        grid = ", ".join(repr(float(value)) for value in raster.transform.to_gdal())
        ElementTree.SubElement(pam, "GeoTransform").text = grid
        return ElementTree.tostring(pam, encoding="unicode")


def refuse_misfit(image: Any, mask: Any, classes: ClassMap) -> None:
    """Raises DataError where the mask's header does not fit the image's or the classes."""
    if image.dtypes[0].startswith("complex"):
        raise DataError(f"{image.name}: complex values; save amplitude (and phase) as bands.")
    if mask.count != 1 or np.dtype(mask.dtypes[0]).kind not in "ui":
        raise DataError(f"{mask.name}: has {mask.count} bands of {mask.dtypes[0]}; save one band of class indices.")
    if mask.nodata is not None and mask.nodata in range(len(classes)):
        raise DataError(
            f"{mask.name}: its nodata value {mask.nodata:g} is also that of the class "
            f"{classes.names[int(mask.nodata)]!r}. If the class is meant: rio edit-info --unset-nodata <file>."
        )
    both = f"{image.name} and {mask.name}"
    if image.shape != mask.shape:
        sizes = " and ".join(f"{width}×{height}" for height, width in (image.shape, mask.shape))
        raise DataError(f"{both}: differ in size, {sizes} pixels.")
    if placed(image) and placed(mask):
        if image.crs and mask.crs and image.crs != mask.crs:
            raise DataError(f"{both}: differ in their reference system, {image.crs} and {mask.crs}.")
        if (apart := _apart(image, mask)) > APART:
            raise DataError(f"{both}: lie up to {apart:.3g} pixels apart. Bring the mask onto the image's grid.")


def _apart(image: Any, mask: Any) -> float:
    """How far the mask's corners lie from the image's, in pixels, so that degrees and metres are judged alike."""
    wide, high = image.width, image.height
    corners = np.array([[0, wide, 0, wide], [0, 0, high, high], [1, 1, 1, 1]])
    return float(np.abs(np.linalg.solve(_grid(image), _grid(mask) @ corners) - corners).max())


def _grid(raster: Any) -> NDArray[np.float64]:
    """(3, 3): from (column, row, 1) to (x, y, 1)."""
    x, x_column, x_row, y, y_column, y_row = raster.transform.to_gdal()
    return np.array([[x_column, x_row, x], [y_column, y_row, y], [0, 0, 1]])
