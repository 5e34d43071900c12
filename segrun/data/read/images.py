"""Image files to tensors. Nothing is guessed: what cannot be read correctly is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from segrun.errors import DataError, RequestError, join_names

PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels


def open_image(path: Path, apply_orientation: bool = True) -> Image.Image:
    """Decode an image file.

    Args:
        path: The file.
        apply_orientation: Whether to turn the picture as its EXIF orientation says.

    Raises:
        DataError: The file is missing, no image or truncated, or too large for one (Pillow's limit against
            decompression bombs).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # a stream, not a path: Pillow misreads memory-mapped TIFFs that have to be turned
            with path.open("rb") as file, Image.open(file) as image:
                image.load()
                if apply_orientation:
                    ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies images that need no turn
                return image
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except (OSError, SyntaxError, ValueError, EOFError, NotImplementedError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as an image ({reason}).") from error


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
