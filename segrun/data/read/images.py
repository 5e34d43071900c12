"""Image and mask files to tensors. Nothing is guessed: what cannot be read right is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from segrun.errors import DataError, RequestError, join_names
from segrun.types import VOID, ClassMap


def open_image(path: Path, turn: bool = True) -> Image.Image:
    """The decoded picture, turned as its EXIF orientation says, or as stored.

    Raises:
        DataError: missing, no image, truncated, or too large to be one (Pillow's bomb guard).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # a stream, not a path: Pillow misreads memory-mapped TIFFs that are to be turned
            with path.open("rb") as file, Image.open(file) as image:
                image.load()
                if turn:
                    ImageOps.exif_transpose(image, in_place=True)  # else it copies what needs no turn
                return image
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except (OSError, SyntaxError, ValueError, EOFError, NotImplementedError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as an image ({reason}).") from error


MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(path: Path, channels: int = 3, turn: bool = True) -> Tensor:
    """(channels, H, W), 1 grey, 3 RGB or 4 RGBA: uint8, or float32 in [0, 1] for files of 16 bits or of floats.

    Grey is repeated and colours are weighed to grey, palettes are looked up, alpha is dropped where it is not asked
    for and full where there is none. Pillow reads 16-bit RGB as 8-bit.
    """
    if channels not in MODES:
        raise RequestError(f"{path}: image files are read as {join_names(MODES)} channels, the model takes {channels}.")
    return image_tensor(open_image(path, turn), str(path), channels)


def image_tensor(image: Image.Image, name: str = "image", channels: int = 3) -> Tensor:
    """As `read_image`, from a picture in memory."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        values /= 1.0 if image.mode == "F" else 65535.0
        if not (values.min() >= 0 and values.max() <= 1):  # NaN too
            raise DataError(f"{name}: values reach outside {'0…1' if image.mode == 'F' else '0…65535'}.")
        grey = torch.from_numpy(values).expand(min(channels, 3), *values.shape)
        return torch.cat((grey, torch.ones(channels - len(grey), *values.shape)))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    array = np.asarray(image if image.mode == MODES[channels] else image.convert(MODES[channels]))
    return torch.from_numpy(array.reshape(*array.shape[:2], channels).transpose(2, 0, 1).copy())


def mask_values(path: Path) -> NDArray[Any]:
    """The raw values of a mask file: (H, W) indices, or (H, W, 3) colours where its channels differ."""
    image = open_image(path)
    if image.mode in ("RGBA", "LA", "RGB", "CMYK", "YCbCr"):
        colours = np.asarray(image.convert("RGB"))
        grey = (colours[..., :1] == colours).all()
        return colours[..., 0] if grey else colours
    if image.mode == "F":
        raise DataError(f"{path}: a mask of floats; save class indices, colours or 0/255.")
    values = np.asarray(image)  # L, P (the indices), 1, I, I;16
    return values.astype(np.uint8) if values.dtype == bool else values


def decode_mask(values: NDArray[Any], path: Path, classes: ClassMap, coding: str, ignore: int) -> Tensor:
    """Raw values to (H, W) uint8 class indices.

    coding: "index", "binary" (0 and 255) or "colour" (the palette of `classes`).

    Raises:
        DataError: a value or colour outside the classes, with its count.
    """
    if coding == "colour":
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        key = values.astype(np.int64) @ np.array([65536, 256, 1])
        known = {(r << 16) + (g << 8) + b: index for index, (r, g, b) in enumerate(classes.palette)}
        void = [] if ignore in range(len(classes)) else [(ignore << 16) + (ignore << 8) + ignore]
        table = {**dict.fromkeys(void, VOID), **known}
    elif values.ndim == 3:
        raise DataError(f"{path}: a mask in colours. Say dataset.masks=colour and give each class its colour.")
    else:
        key = values
        table = {0: 0, 255: 1} if coding == "binary" else {index: index for index in range(len(classes))}
        table.setdefault(ignore, VOID)
    if key.dtype == np.uint8:  # as bytes, four times as fast
        codes = bytearray([STRANGE]) * 256
        for value in table.keys() & range(256):
            codes[value] = table[value]
        found = bytearray(key.tobytes()).translate(codes)
        if STRANGE not in found:
            return torch.frombuffer(found, dtype=torch.uint8).reshape(key.shape)
    present, count = _values(key)
    strange = [(int(v), int(n)) for v, n in zip(present, count, strict=True) if int(v) not in table]
    if strange:
        shown = (f"{f'#{value:06x}' if coding == 'colour' else value} ({n} pixels)" for value, n in strange)
        raise DataError(
            f"{path}: values outside the {len(classes)} classes: {join_names(shown)}. "
            "Mend the mask, or correct dataset.classes, dataset.masks or dataset.ignore_index."
        )
    lookup = np.array([table[int(value)] for value in present], dtype=np.uint8)
    if present[0] < 0 or present[-1] >= FEW:
        return torch.from_numpy(lookup[np.searchsorted(present, key)])
    dense = np.zeros(int(present[-1]) + 1, np.uint8)
    dense[present] = lookup
    return torch.from_numpy(dense[key])


STRANGE = VOID - 1  # a class only where there are 255; then all masks go the slow way
FEW = 2**16  # values that are counted in a table: sorting a mask takes ten times as long


def _values(key: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The different values, rising, and how often each is there."""
    if key.min() < 0 or key.max() >= FEW:
        return np.unique(key, return_counts=True)
    counts = np.bincount(key.ravel())
    present = np.flatnonzero(counts)
    return present, counts[present]
