"""The raw values of scientific images: any number of channels, 8 or 16 bits, floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.images import open_image
from segrun.errors import DataError, MissingExtraError, import_extra

Raw = NDArray[np.float32]  # (C, H, W); NaN where nothing was measured


def read_raw(path: Path, channels: int) -> Raw:
    """Read an image file without scaling its values: TIFF by its axes, other formats by Pillow.

    The planes of a TIFF are channels where the file says so (axes C or S) or says nothing (pages without a meaning),
    never where it says that they are depth (Z) or time (T).

    Args:
        path: The file.
        channels: Channels that the image must have.

    Returns:
        (channels, H, W)

    Raises:
        DataError: The file cannot be read, has another number of channels, is a stack, holds several images, or stores
            values that stand for others (a palette).
        MissingExtraError: TIFF needs the extra `microscopy`.
    """
    axes, values = _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _read_picture(path)
    plane_axes = axes.replace("Y", "").replace("X", "")
    if len(plane_axes) > 1 or plane_axes not in "CSQI" or values.dtype.kind not in "buif":
        raise DataError(
            f"{path}: holds {values.dtype} values along {axes} (Z depth, T time). Save each plane as an image of its "
            "own, with the axes YX, CYX or YXC."
        )
    height, width = (values.shape[axes.index(axis)] for axis in "YX")
    planes = values.transpose([axes.index(axis) for axis in f"{plane_axes}YX"]).reshape(-1, height, width)
    if len(planes) != channels:
        word = "pages" if plane_axes in ("Q", "I") else "channels"
        raise DataError(f"{path}: has {len(planes)} {word}, {channels} channels are expected (dataset.channels).")
    return planes.astype(np.float32)


def _read_tiff(path: Path) -> tuple[str, NDArray[Any]]:
    """(axes, values)"""
    tifffile = import_extra("tifffile", "microscopy")
    try:
        with tifffile.TiffFile(path) as file:
            _check_plain(file, path)
            return file.series[0].axes, file.series[0].asarray()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, RuntimeError) as error:
        if "imagecodecs" in str(error):
            raise MissingExtraError(f"{path}: {error}: pip install 'segrun[microscopy]'") from error
        raise DataError(f"{path}: cannot be read as TIFF ({error}).") from error


def _check_plain(file: Any, path: Path) -> None:
    """Refuse a TIFF of several images, and one whose values are not stored upright and as measured.

    Raises:
        DataError: It is one.
    """
    first, count = file.pages[0], len(file.series)
    photometric, orientation = first.photometric.name, first.tags.valueof("Orientation", default=1)
    if count != 1:
        raise DataError(f"{path}: holds {count} images. Save each as a file of its own.")
    if photometric in ("PALETTE", "MINISWHITE") or orientation != 1:
        word = photometric if orientation == 1 else f"orientation {orientation:d}"
        raise DataError(f"{path}: is stored as {word}. Save it upright, as plain values or RGB.")


def _read_picture(path: Path) -> tuple[str, NDArray[Any]]:
    """(axes, values)"""
    image = open_image(path)
    if image.mode in ("P", "PA"):
        raise DataError(f"{path}: is stored as a palette. Save it as plain values or RGB.")
    values = np.asarray(image)
    return "YXS"[: values.ndim], values
