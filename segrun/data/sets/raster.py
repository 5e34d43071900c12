"""Georeferenced raster files: headers, and reading by window (rasterio, extra `geo`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.masks import whole_numbers
from segrun.errors import DataError, UnreadableError, import_extra
from segrun.types import ClassMap

Window = tuple[tuple[int, int], tuple[int, int]]  # rows and columns, ends excluded
MAX_OFFSET = 0.01  # pixels between the corners of a mask and those of its image
# GDAL would choose the driver by content, and some formats, such as VRT, are instructions to open other files and URLs
DRIVERS = {
    ".tif": "GTiff",  # Cloud Optimized GeoTIFF, too
    ".tiff": "GTiff",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jp2": "JP2OpenJPEG",
    ".bmp": "BMP",
}
# no file system of GDAL's that reads from the network, and no files beside the raster but those with the usual names
OPTIONS = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none", "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
SIDECARS = (".msk", ".MSK", ".ovr", ".OVR")  # opened by GDAL with any driver
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """A raster, opened for one reading: threads may not share it, and processes may not inherit it.

    Raises:
        MissingExtraError: rasterio is not installed.
        UnreadableError: The file is not in the format of its suffix, cannot be read, or holds several rasters (pages).
    """
    rasterio = import_extra("rasterio", "geo")
    driver = _allowed_driver(path)
    # the data set counts rasters without a georeference
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    try:
        with rasterio.Env(**OPTIONS), rasterio.open(path, driver=driver) as raster:
            if len(raster.subdatasets) > 1:
                raise UnreadableError(
                    f"{path}: holds {len(raster.subdatasets)} rasters. Save each as a file of its own."
                )
            yield raster
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UnreadableError(f"{path}: cannot be read as a raster of the format {driver} ({reason}).") from error


def _allowed_driver(path: Path) -> str:
    """The one driver that may open a file.

    Raises:
        UnreadableError: There is none, or a mask or overview beside the file is not a TIFF.
    """
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None or path.as_posix().startswith("/vsi"):
        raise UnreadableError(f"{path}: rasters are read from {', '.join(DRIVERS)}. Convert it to GeoTIFF.")
    for sidecar in (path.with_name(path.name + suffix) for suffix in SIDECARS):
        if sidecar.is_file():
            with sidecar.open("rb") as file:
                if file.read(4) not in TIFF_SIGNATURES:
                    raise UnreadableError(f"{sidecar}: is not a TIFF, and belongs to {path.name}. Remove it.")
    return driver


def read_window(path: Path, bands: Sequence[int], window: Window) -> NDArray[np.float32]:
    """Bands of a window, as stored.

    Returns:
        (bands, H, W), NaN where a band is nodata: by nodata value, mask band or alpha.

    Raises:
        DataError: The file cannot be read.
    """
    with open_raster(path) as raster:
        values: NDArray[np.float32] = raster.read(bands, window=window, out_dtype="float32")
        is_valid = raster.read_masks(bands, window=window) > 0
        # GDAL respects an alpha band only beside one or three other bands
        for alpha in set(raster.indexes) - set(data_bands(raster)):
            is_valid &= raster.read(alpha, window=window) > 0
    values[~is_valid | ~np.isfinite(values)] = np.nan
    return values


def read_raster(path: Path, bands: Sequence[int] | None, channels: int) -> NDArray[np.float32]:
    """A whole raster, as by `read_window`.

    Args:
        path: The file.
        bands: Numbers from 1; None for all bands except alpha.
        channels: The number of bands that is expected.

    Raises:
        DataError: The file cannot be read, or has other bands.
    """
    with open_raster(path) as raster:
        chosen = tuple(bands or data_bands(raster))
        if not set(chosen) <= set(raster.indexes) or len(chosen) != channels:
            raise DataError(f"{path}: has {raster.count} bands, {channels} are expected.")
        window = ((0, raster.height), (0, raster.width))
    return read_window(path, chosen, window)


def read_labels(path: Path, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(H, W) values of a mask's window, 0 at nodata, and (H, W) whether they are not nodata.

    Raises:
        DataError: The file cannot be read, or holds floats that are no whole numbers.
    """
    with open_raster(path) as raster:
        values, is_valid = raster.read(1, window=window), raster.read_masks(1, window=window) > 0
    is_valid &= ~np.isnan(values)
    return whole_numbers(np.where(is_valid, values, 0), path).astype(np.int64), is_valid


def data_bands(raster: Any) -> tuple[int, ...]:
    """The numbers of all bands except alpha, which states where the others are nodata."""
    colours = zip(raster.indexes, raster.colorinterp, strict=True)
    return tuple(band for band, colour in colours if colour.name != "alpha")


def is_full(raster: Any) -> bool:
    """Whether the header declares no nodata: no value, mask band or alpha."""
    return all(flag.name == "all_valid" for flags in raster.mask_flag_enums for flag in flags)


def has_grid(raster: Any) -> bool:
    """Whether the header places the raster by an affine transform."""
    return not raster.transform.is_identity


def is_georeferenced(raster: Any) -> bool:
    """Whether the header states where the raster lies: by a transform, control points (GCPs) or a camera (RPCs)."""
    return has_grid(raster) or bool(raster.gcps[0]) or raster.rpcs is not None


def georeference_xml(path: Path) -> str | None:
    """Where a raster lies, as GDAL's auxiliary metadata (PAM).

    It georeferences a picture of the same size that has no header of its own. None if the raster has no georeference.
    """
    with open_raster(path) as raster:
        if not is_georeferenced(raster):
            return None
        pam = ElementTree.Element("PAMDataset")
        if has_grid(raster):
            if raster.crs:
                ElementTree.SubElement(pam, "SRS").text = raster.crs.to_wkt()
            grid = ", ".join(repr(float(value)) for value in raster.transform.to_gdal())
            ElementTree.SubElement(pam, "GeoTransform").text = grid
        points, system = raster.gcps
        if points:
            listed = ElementTree.SubElement(pam, "GCPList", {"Projection": system.to_wkt()} if system else {})
            for number, point in enumerate(points, 1):
                place = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
                words = {key: repr(float(value)) for key, value in place.items()}
                ElementTree.SubElement(listed, "GCP", {"Id": str(point.id or number), **words})
        if raster.rpcs is not None:
            model = ElementTree.SubElement(pam, "Metadata", {"domain": "RPC"})
            for key, value in raster.tags(ns="RPC").items():
                ElementTree.SubElement(model, "MDI", {"key": key}).text = value
        return ElementTree.tostring(pam, encoding="unicode")


def check_headers(image: Any, mask: Any, classes: ClassMap) -> None:
    """Check that the header of a mask fits the image and the classes.

    Args:
        image: The opened image.
        mask: The opened mask.
        classes: The classes of the data set.

    Raises:
        DataError: It does not.
    """
    if image.dtypes[0].startswith("complex"):
        raise DataError(f"{image.name}: complex values. Save amplitude (and phase) as bands.")
    if mask.count != 1 or np.dtype(mask.dtypes[0]).kind not in "uif":
        raise DataError(f"{mask.name}: has {mask.count} bands of {mask.dtypes[0]}. Save one band of class indices.")
    if mask.nodata is not None and mask.nodata in range(len(classes)):
        raise DataError(
            f"{mask.name}: its nodata value {mask.nodata:g} is also that of the class "
            f"{classes.names[int(mask.nodata)]!r}. If the class is meant: rio edit-info --unset-nodata <file>."
        )
    both = f"{image.name} and {mask.name}"
    if image.shape != mask.shape:
        sizes = " and ".join(f"{width}×{height}" for height, width in (image.shape, mask.shape))
        raise DataError(f"{both}: differ in size, {sizes} pixels.")
    if has_grid(image) and has_grid(mask):
        _check_grids(image, mask)


def _check_grids(image: Any, mask: Any) -> None:
    both = f"{image.name} and {mask.name}"
    if image.crs and mask.crs and image.crs != mask.crs:
        raise DataError(f"{both}: differ in their reference system, {image.crs} and {mask.crs}.")
    offset = _max_corner_offset(image, mask)
    if offset > MAX_OFFSET:
        raise DataError(f"{both}: lie up to {offset:.3g} pixels apart. Warp the mask to the grid of the image.")


def _max_corner_offset(image: Any, mask: Any) -> float:
    """How far the mask's corners lie from the image's, in pixels, so that degrees and metres are treated alike."""
    width, height = image.width, image.height
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    mask_corners = np.linalg.solve(_pixel_to_map(image), _pixel_to_map(mask) @ corners)
    return float(np.abs(mask_corners - corners).max())


def _pixel_to_map(raster: Any) -> NDArray[np.float64]:
    """(3, 3): from (column, row, 1) to (x, y, 1)."""
    x, x_column, x_row, y, y_column, y_row = raster.transform.to_gdal()
    return np.array([[x_column, x_row, x], [y_column, y_row, y], [0, 0, 1]])
