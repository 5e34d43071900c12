"""The values of scientific images as their files hold them: any number of channels, 8 or 16 bits, floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.images import open_image
from segrun.errors import DataError, MissingExtraError, import_extra

Raw = NDArray[np.float32]  # (C, H, W); NaN where nothing was measured


def read_raw(path: Path, channels: int) -> Raw:
    """(channels, H, W): TIFF by its axes, other formats as Pillow reads them.

    The planes of a TIFF are its channels where its metadata say so (axes C or S) or say nothing (pages without a
    meaning): never where they say depth (Z) or time (T).

    Raises:
        DataError: unreadable, of another number of channels, a stack, several images, or values that stand for others
            (a palette).
        MissingExtraError: TIFF needs the extra `microscopy`.
    """
    axes, values = _tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _picture(path)
    planes = axes.replace("Y", "").replace("X", "")
    if len(planes) > 1 or planes not in "CSQI" or values.dtype.kind not in "buif":
        raise DataError(
            f"{path}: holds {values.dtype} values along {axes} (Z depth, T time). Save each plane as an image of its "
            "own, with the axes YX, CYX or YXC."
        )
    values = values.transpose([axes.index(axis) for axis in f"{planes}YX"]).reshape(-1, *_size(axes, values))
    if len(values) != channels:
        word = "pages" if planes in ("Q", "I") else "channels"
        raise DataError(f"{path}: has {len(values)} {word}, {channels} channels are expected (dataset.channels).")
    return values.astype(np.float32)


def _size(axes: str, values: NDArray[Any]) -> tuple[int, int]:
    return values.shape[axes.index("Y")], values.shape[axes.index("X")]


def _tiff(path: Path) -> tuple[str, NDArray[Any]]:
    """(axes, values)"""
    tifffile = import_extra("tifffile", "microscopy")
    try:
        with tifffile.TiffFile(path) as file:
            first, count = file.pages[0], len(file.series)
            meaning, turned = first.photometric.name, first.tags.valueof("Orientation", default=1)
            if count != 1:
                raise DataError(f"{path}: holds {count} images. Save each as a file of its own.")
            if meaning in ("PALETTE", "MINISWHITE") or turned != 1:
                word = meaning if turned == 1 else f"orientation {turned:d}"
                raise DataError(f"{path}: is stored as {word}. Save it upright, as plain values or RGB.")
            return file.series[0].axes, file.series[0].asarray()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, RuntimeError) as error:
        if "imagecodecs" in str(error):
            raise MissingExtraError(f"{path}: {error}: pip install 'segrun[microscopy]'") from error
        raise DataError(f"{path}: cannot be read as TIFF ({error}).") from error


def _picture(path: Path) -> tuple[str, NDArray[Any]]:
    image = open_image(path)
    if image.mode in ("P", "PA"):
        raise DataError(f"{path}: is stored as a palette. Save it as plain values or RGB.")
    values = np.asarray(image)
    return "YXS"[: values.ndim], values
