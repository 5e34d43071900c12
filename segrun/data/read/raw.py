"""The raw values of scientific images: any number of channels, 8 or 16 bits, floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrun.data.read.headers import keeps_8_of_16_bits
from segrun.data.read.images import open_image
from segrun.errors import DataError, MissingExtraError, UnreadableError, import_extra

Raw = NDArray[np.float32]  # (C, H, W); NaN where nothing was measured


def read_raw(path: Path, channels: int, apply_orientation: bool = True) -> Raw:
    """Read an image file without scaling its values: TIFF by its axes, other formats by Pillow.

    The planes of a TIFF are channels where the file says so (axes C or S) or says nothing (pages without a meaning),
    never where it says that they are depth (Z) or time (T).

    Args:
        path: The file.
        channels: Channels that the image must have.
        apply_orientation: Whether to turn a picture as its EXIF orientation says. A TIFF to be turned is refused.

    Returns:
        (channels, H, W)

    Raises:
        DataError: The file cannot be read, has another number of channels, is a stack, holds several images, or stores
            values that stand for others (a palette).
        MissingExtraError: TIFF needs the extra `microscopy`.
    """
    read = read_tiff if path.suffix.lower() in (".tif", ".tiff") else _read_picture
    axes, values = read(path, apply_orientation)
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


def read_tiff(path: Path, apply_orientation: bool = True) -> tuple[str, NDArray[Any]]:
    """The axes of a TIFF as tifffile names them, and its values.

    Args:
        path: The file.
        apply_orientation: Whether to refuse a TIFF whose orientation asks for a turn; otherwise it is read as stored.

    Raises:
        UnreadableError: It cannot be read, holds several images, or values that stand for others.
        MissingExtraError: The extra `microscopy` is missing.
    """
    tifffile = import_extra("tifffile", "microscopy")
    try:
        with tifffile.TiffFile(path) as file:
            _check_plain(file, path, apply_orientation)
            return file.series[0].axes, file.series[0].asarray()
    except FileNotFoundError as error:
        raise UnreadableError(f"{path}: there is no such file.") from error
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, RuntimeError) as error:
        if "imagecodecs" in str(error):
            raise MissingExtraError(f"{path}: {error}: pip install 'segrun[microscopy]'") from error
        raise UnreadableError(f"{path}: cannot be read as TIFF ({error}).") from error


def _check_plain(file: Any, path: Path, apply_orientation: bool) -> None:
    """Refuse a TIFF of several images, and one whose values are not stored upright and as measured.

    Raises:
        DataError: It is one.
    """
    first, count = file.pages[0], len(file.series)
    photometric = first.photometric.name
    orientation = first.tags.valueof("Orientation", default=1) if apply_orientation else 1
    if count != 1:
        raise UnreadableError(f"{path}: holds {count} images. Save each as a file of its own.")
    if photometric in ("PALETTE", "MINISWHITE") or orientation != 1:
        word = photometric if orientation == 1 else f"orientation {orientation:d}"
        raise UnreadableError(f"{path}: is stored as {word}. Save it upright, as plain values or RGB.")


def _read_picture(path: Path, apply_orientation: bool) -> tuple[str, NDArray[Any]]:
    """(axes, values)"""

    def check(image: Image.Image) -> None:
        if keeps_8_of_16_bits(image):
            raise UnreadableError(f"{path}: has 16 bits per channel, of which Pillow keeps 8. Save it as TIFF.")

    image = open_image(path, apply_orientation, check)
    if image.mode in ("P", "PA"):
        raise UnreadableError(f"{path}: is stored as a palette. Save it as plain values or RGB.")
    values = np.asarray(image)
    return "YXS"[: values.ndim], values
