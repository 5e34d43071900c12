"""Mask files with a palette, whose colours may differ from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segrun.data.read.images import has_palette
from segrun.data.read.masks import (
    class_codes,
    decode_codes,
    decode_mask,
    grey_code,
    open_mask,
    pack_colours,
    read_mask_values,
)
from segrun.types import ClassMap


def read_mask(path: Path, classes: ClassMap, coding: str, ignore: int, apply_orientation: bool = True) -> Tensor:
    """Read a mask file. In colour masks, a palette is looked up in the file's own.

    Args:
        path: The file.
        classes: As for `decode_mask`.
        coding: As for `decode_mask`.
        ignore: As for `decode_mask`; in a palette also the index that means "no label", unless a class has its colour.
        apply_orientation: As for `read_mask_values`.

    Returns:
        (H, W), uint8 class indices and VOID.

    Raises:
        UnreadableError: As for `read_mask_values`.
        DataError: A value or colour is no class. The message holds its count.
    """
    if coding == "colour" and has_palette(path):
        colours = _palette_colours(open_mask(path, apply_orientation), classes, ignore)
        return decode_codes(colours, path, classes, coding, ignore)
    return decode_mask(read_mask_values(path, apply_orientation), path, classes, coding, ignore)


def palette_coding(path: Path, classes: ClassMap, ignore: int) -> str | None:
    """Whether a mask with a palette states the class by its colours.

    Returns:
        "colour" if it shows the colours of two classes or more; "index" if it shows others, or has no palette; None if
        it shows one colour of a class and `ignore` only, which says nothing.

    Raises:
        UnreadableError: As for `read_mask_values`.
    """
    if not has_palette(path):
        return "index"
    image = open_mask(path)
    indices = np.unique(np.asarray(image.getchannel(0)))
    colours = set(_palette(image)[indices[indices != ignore]].tolist())
    known = colours & class_codes(classes).keys()
    if len(known) > 1:
        return "colour"
    return "index" if colours - known else None


def _palette_colours(image: Image.Image, classes: ClassMap, ignore: int) -> NDArray[np.int64]:
    """(H, W) packed colours; that of the index `ignore` is the grey of this value, unless a class has its colour."""
    palette = _palette(image)
    if ignore in range(256) and palette[ignore] not in class_codes(classes):
        palette[ignore] = grey_code(ignore)
    return np.asarray(palette[np.asarray(image.getchannel(0))])


def _palette(image: Image.Image) -> NDArray[np.int64]:
    """(256,) packed colours; −1 for indices that the palette lacks."""
    colours = np.asarray(image.getpalette("RGB"), np.int64).reshape(-1, 3)
    palette = np.full(256, -1, np.int64)
    palette[: len(colours)] = pack_colours(colours[None])[0]
    return palette
