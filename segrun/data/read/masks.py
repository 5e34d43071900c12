"""Mask files to class indices. Nothing is guessed: values that are no class are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from segrun.data.read.headers import changed_values, is_unknown_tiff, tiff_tag
from segrun.data.read.images import open_image
from segrun.data.read.raw import read_tiff
from segrun.errors import DataError, MissingExtraError, UnreadableError, join_names
from segrun.types import VOID, ClassMap

UNKNOWN = VOID - 1  # marks values that are no class; a class itself only if there are 255
SIGNED = 2  # a TIFF's SampleFormat
LARGEST = 2.0**53  # floats below are exact integers
TABLE_SIZE = 2**16  # values below are counted in a table; sorting a mask takes ten times as long


def open_mask(path: Path, apply_orientation: bool = True) -> Image.Image:
    """Decode a mask file, as `open_image` does.

    Raises:
        UnreadableError: It cannot be read, or Pillow would change its values.
    """

    def check(image: Image.Image) -> None:
        reason = changed_values(image)
        if reason:
            raise UnreadableError(f"{path}: {reason}.")

    return open_image(path, apply_orientation, check)


def read_mask_values(path: Path, apply_orientation: bool = True) -> NDArray[Any]:
    """The values of a mask file as stored.

    Args:
        path: The file.
        apply_orientation: Whether to turn the mask as its own EXIF orientation says.

    Returns:
        (H, W) integers (the indices of a palette), or (H, W, 3) colours if the channels differ.

    Raises:
        UnreadableError: The file cannot be read, or Pillow would change its values.
        DataError: It holds floats that are no whole numbers.
    """
    try:
        image = open_mask(path, apply_orientation)
    except UnreadableError as error:
        if not is_unknown_tiff(path, error.__cause__):
            raise
        return whole_numbers(_read_other_tiff(path, apply_orientation, error), path)
    return _stored_values(image, path)


def decode_mask(values: NDArray[Any], path: Path, classes: ClassMap, coding: str, ignore: int) -> Tensor:
    """Translate the values of a mask file to class indices.

    Args:
        values: (H, W) or (H, W, 3), as stored.
        path: The file, for messages.
        classes: The classes, with their colours.
        coding: "index", "binary" (0 and 255) or "colour" (the palette of `classes`).
        ignore: The value that means "no label"; in colour masks, the grey of this value.

    Returns:
        (H, W), uint8 class indices and VOID.

    Raises:
        DataError: A value or colour is no class. The message holds its count.
    """
    if coding == "colour":
        return decode_codes(pack_colours(values), path, classes, coding, ignore)
    if values.ndim == 3:
        raise DataError(f"{path}: a mask in colours. Set dataset.masks=colour and give each class its colour.")
    return decode_codes(values, path, classes, coding, ignore)


def whole_numbers(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Floats as the integers that they are; other numbers unchanged.

    Raises:
        DataError: Some are no whole numbers.
    """
    if values.dtype.kind != "f":
        return values
    is_whole = (values == np.rint(values)) & (np.abs(values).astype(np.float64) < LARGEST)  # also no infinity, no NaN
    if not is_whole.all():
        example, count = values[~is_whole][0], int((~is_whole).sum())
        raise DataError(
            f"{path}: a mask of floats, of which {count} pixels are no whole numbers ({example:g}, for example). "
            "Save class indices, colours or 0/255."
        )
    return values.astype(np.int64)


def _read_other_tiff(path: Path, apply_orientation: bool, error: UnreadableError) -> NDArray[Any]:
    """(H, W) values of a TIFF that Pillow does not know. error: what Pillow said."""
    try:
        axes, values = read_tiff(path, apply_orientation)
    except MissingExtraError:
        raise UnreadableError(f"{error} For masks: pip install 'segrun[microscopy]'.") from error
    if axes != "YX":
        raise UnreadableError(f"{path}: a mask with the axes {axes}. Save one plane, of class indices.")
    return values


def _stored_values(image: Image.Image, path: Path) -> NDArray[Any]:
    if image.mode in ("RGBA", "LA", "RGB", "CMYK", "YCbCr"):
        colours = np.asarray(image.convert("RGB"))
        is_grey = (colours[..., :1] == colours).all()
        return colours[..., 0] if is_grey else colours
    values = np.asarray(image)  # modes L, P (the indices), 1, I, I;16, F
    if values.ndim != 2:
        raise UnreadableError(f"{path}: a mask of the kind {image.mode}. Save class indices, or RGB.")
    if image.mode == "L" and tiff_tag(image, ExifTags.Base.SampleFormat, 1) == (SIGNED,):
        return values.view(np.int8)
    return values.astype(np.uint8) if values.dtype == bool else whole_numbers(values, path)


def decode_codes(codes: NDArray[Any], path: Path, classes: ClassMap, coding: str, ignore: int) -> Tensor:
    """As `decode_mask`, of (H, W) values, or of packed colours (`pack_colours`)."""
    table = _colour_table(classes, ignore) if coding == "colour" else _index_table(classes, coding, ignore)
    if codes.dtype == np.uint8:
        mask = _translate_bytes(codes, table)
        if mask is not None:
            return mask
    present, counts = _count_values(codes)
    unknown = [
        f"{f'#{value:06x}' if coding == 'colour' else value} ({count} pixels)"
        for value, count in zip(present.tolist(), counts.tolist(), strict=True)
        if value not in table
    ]
    if unknown:
        raise DataError(
            f"{path}: values outside the {len(classes)} classes: {join_names(unknown)}. "
            "Correct the mask, or dataset.classes, dataset.masks or dataset.ignore_index."
        )
    return _translate(codes, present, table)


def pack_colours(values: NDArray[Any]) -> NDArray[np.int64]:
    """(H, W, 3) colours, or (H, W) greys, as (H, W) numbers 0xRRGGBB."""
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return np.asarray(values.astype(np.int64) @ np.array([65536, 256, 1]))


def class_codes(classes: ClassMap) -> dict[int, int]:
    """Class index by packed colour."""
    return {(red << 16) + (green << 8) + blue: index for index, (red, green, blue) in enumerate(classes.palette)}


def _colour_table(classes: ClassMap, ignore: int) -> dict[int, int]:
    """Class index or VOID by packed colour."""
    void = {} if ignore in range(len(classes)) else {grey_code(ignore): VOID}
    return void | class_codes(classes)


def grey_code(value: int) -> int:
    """The packed colour of a grey."""
    return (value << 16) + (value << 8) + value


def _index_table(classes: ClassMap, coding: str, ignore: int) -> dict[int, int]:
    """Class index by value."""
    table = {0: 0, 255: 1} if coding == "binary" else {index: index for index in range(len(classes))}
    table.setdefault(ignore, VOID)
    return table


def _translate_bytes(codes: NDArray[np.uint8], table: Mapping[int, int]) -> Tensor | None:
    """The mask by Python's `bytes.translate`, four times as fast as numpy; None if some value may be unknown."""
    lookup = bytearray([UNKNOWN]) * 256
    for value in table.keys() & range(256):
        lookup[value] = table[value]
    translated = bytearray(codes.tobytes()).translate(lookup)
    if UNKNOWN in translated:
        return None
    return torch.frombuffer(translated, dtype=torch.uint8).reshape(codes.shape)


def _translate(codes: NDArray[Any], present: NDArray[Any], table: Mapping[int, int]) -> Tensor:
    """The mask. present: the values of `codes`, ascending, which are all in `table`."""
    indices = np.array([table[value] for value in present.tolist()], dtype=np.uint8)
    if present[0] < 0 or present[-1] >= TABLE_SIZE:
        return torch.from_numpy(indices[np.searchsorted(present, codes)])
    lookup = np.zeros(int(present[-1]) + 1, np.uint8)
    lookup[present] = indices
    return torch.from_numpy(lookup[codes])


def _count_values(codes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct values, ascending, and the number of pixels of each."""
    if codes.min() < 0 or codes.max() >= TABLE_SIZE:
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes.ravel())
    present = np.flatnonzero(counts)
    return present, counts[present]
