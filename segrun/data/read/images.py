"""Image files to tensors. Nothing is guessed: what cannot be read correctly is refused by name."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from segrun.data.read.headers import count_pictures, has_wide_planes, is_unknown_tiff
from segrun.errors import DataError, RequestError, UnreadableError, join_names

PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels
# Pillow would also give EPS files to Ghostscript, and formats without a decoder to plugins.
FORMATS = frozenset(
    [
        "AVIF",
        "BMP",
        "DIB",
        "GIF",
        "JPEG",
        "JPEG2000",
        "MPO",
        "PCX",
        "PNG",
        "PPM",
        "PSD",
        "QOI",
        "SGI",
        "TGA",
        "TIFF",
        "WEBP",
    ]
)
MAX_PIXELS = 1_000_000_000  # of a picture, in place of Pillow's 178,956,970; a larger one may be a decompression bomb
ERRORS = (OSError, SyntaxError, ValueError, EOFError, NotImplementedError, MemoryError, Image.DecompressionBombError)
Exif = Literal["apply", "ignore"]  # whether pictures are turned as their EXIF orientation says

_pillow_limit = threading.Lock()


def open_image(
    path: Path, apply_orientation: bool = True, check: Callable[[Image.Image], None] = lambda image: None
) -> Image.Image:
    """Decode an image file.

    Args:
        path: The file.
        apply_orientation: Whether to turn the picture as its EXIF orientation says.
        check: Called with the picture before its pixels are decoded.

    Raises:
        UnreadableError: The file is missing, no image or truncated, has more than `MAX_PIXELS` pixels, or holds several
            pictures (pages, frames).
    """
    try:
        # a stream, not a path: Pillow misreads memory-mapped TIFFs that have to be turned
        with path.open("rb") as file, _open(file) as image:
            _check_single(image, path)
            check(image)
            image.load()
            if apply_orientation:
                ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies images that need no turn
            return image
    except FileNotFoundError as error:
        raise UnreadableError(f"{path}: there is no such file.") from error
    except ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if is_unknown_tiff(path, error):
            reason = "a damaged TIFF, or one that Pillow does not know, such as 64-bit numbers: try dataset=microscopy"
        raise UnreadableError(f"{path}: cannot be read as an image ({reason}).") from error


def read_orientation(path: Path) -> int:
    """The EXIF orientation of an image file: 2 to 8, or 1 if it is upright, has none or cannot be read."""
    with contextlib.suppress(*ERRORS), path.open("rb") as file, _open(file) as image:
        if image.format == "PNG" and "exif" not in image.info:
            return 1  # getexif would decode all pixels to look behind them
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in range(2, 9) else 1
    return 1


def has_palette(path: Path) -> bool:
    """Whether an image file has a palette; False if it cannot be read."""
    with contextlib.suppress(*ERRORS), path.open("rb") as file, _open(file) as image:
        return image.mode in ("P", "PA")
    return False


@functools.cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read and that this Pillow knows."""
    Image.init()
    return tuple(sorted(FORMATS & Image.OPEN.keys()))


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of image files, in lower case and with their dot."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def _open(file: IO[bytes]) -> Image.Image:
    """Read the header of a picture of any size. Pillow's limit is a global of the process: it is put back at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(file, formats=image_formats())
        except UnidentifiedImageError:
            raise UnidentifiedImageError(f"it is none of {', '.join(image_formats())}") from None
        except Image.DecompressionBombError:
            with _pillow_limit:
                limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                try:
                    return Image.open(file, formats=image_formats())
                finally:
                    Image.MAX_IMAGE_PIXELS = limit


def _check_single(image: Image.Image, path: Path) -> None:
    """Refuse what Pillow would read a part of, and what is too large to be decoded at once.

    Raises:
        UnreadableError: It is such a file.
    """
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableError(
            f"{path}: is {image.width}×{image.height}, {image.width * image.height / 1e6:,.0f} megapixels; at most "
            f"{MAX_PIXELS / 1e6:,.0f} are read at once. Cut it into tiles, or use dataset=geotiff, which reads windows."
        )
    pictures = count_pictures(image)
    if pictures > 1:
        raise UnreadableError(f"{path}: holds {pictures} pictures (pages or frames). Save each as a file of its own.")
    if has_wide_planes(image):
        raise UnreadableError(f"{path}: holds planes of more than 8 bits, which Pillow misreads. Save RGB by pixels.")


def read_image(path: Path, channels: int = 3, apply_orientation: bool = True) -> Tensor:
    """Read an image file as grey, RGB or RGBA.

    Grey is repeated to RGB and colours are averaged to grey (ITU-R BT.601). Palettes are looked up. Alpha is dropped
    if it is not requested, and opaque if the file has none. Pillow reads 16-bit RGB as 8-bit.

    Args:
        path: The file.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        apply_orientation: Whether to turn the picture as its EXIF orientation says.

    Returns:
        (channels, H, W), uint8, or float32 in [0, 1] for files of 16 bits or of floats.

    Raises:
        DataError: The file cannot be read.
        RequestError: Image files cannot be read as this number of channels.
    """
    if channels not in PIL_MODES:
        raise RequestError(
            f"{path}: image files are read as {join_names(PIL_MODES)} channels, the model takes {channels}."
        )
    return image_to_tensor(open_image(path, apply_orientation), str(path), channels)


def image_to_tensor(image: Image.Image, name: str = "image", channels: int = 3) -> Tensor:
    """A decoded picture as a tensor, as `read_image` returns it.

    Args:
        image: The picture.
        name: Names the picture in messages.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.

    Raises:
        DataError: Values lie outside the range of the picture's type.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_grey_to_tensor(image, name, channels)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.asarray(image if image.mode == PIL_MODES[channels] else image.convert(PIL_MODES[channels]))
    pixels = pixels.reshape(*pixels.shape[:2], channels)  # Pillow gives grey without an axis for channels
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _wide_grey_to_tensor(image: Image.Image, name: str, channels: int) -> Tensor:
    """A grey picture of 16-bit integers or of floats as (channels, H, W) float32; alpha is 1."""
    floats = image.mode == "F"
    values = np.asarray(image).astype(np.float32)
    values /= 1.0 if floats else 65535.0
    if not (values.min() >= 0 and values.max() <= 1):  # also refuses NaN
        raise DataError(f"{name}: values reach outside {'0…1' if floats else '0…65535'}.")
    grey = torch.from_numpy(values).expand(min(channels, 3), *values.shape)
    return torch.cat((grey, torch.ones(channels - len(grey), *values.shape)))
