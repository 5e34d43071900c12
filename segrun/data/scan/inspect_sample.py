"""Measuring one image and its mask."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.scan.alignment import edge_alignment, reduce_image
from segrun.data.scan.class_counts import count_classes
from segrun.data.scan.hashing import difference_hash
from segrun.data.scan.record import ImageRecord
from segrun.errors import DataError

UNREADABLE = ("cannot be read", "no such file")  # in messages of errors about a file


def inspect_sample(data: Dataset, name: str) -> ImageRecord:
    """Read an image and its mask once and measure both.

    What is wrong with the files is part of the record, not an exception.
    """
    jpeg_mask = any(_is_jpeg(path) for path in data.files(name)[1:2])
    try:
        sample = data.sample(name)  # both together, since many data sets decode the same file for both
    except DataError as error:
        return _inspect_damaged(data, name, str(error), jpeg_mask)
    pixels = sample.image.contiguous().numpy()
    reduced = reduce_image(pixels)
    mask = np.ascontiguousarray(sample.mask.numpy())
    class_counts, void_pixels = count_classes(mask, len(data.classes))
    return dataclasses.replace(
        _measure_image(pixels, reduced, name),
        jpeg_mask=jpeg_mask,
        mask_checksum=zlib.crc32(mask.data),
        void_pixels=void_pixels,
        alignment=edge_alignment(reduced, mask),
        class_counts=class_counts,
    )


def _inspect_damaged(data: Dataset, name: str, problem: str, jpeg_mask: bool) -> ImageRecord:
    """The record of a sample that cannot be used. problem: why."""
    try:
        image = data.image(name)
    except DataError as error:
        return ImageRecord(str(error), "unreadable", jpeg_mask)
    pixels = image.contiguous().numpy()
    record = _measure_image(pixels, reduce_image(pixels), name)
    try:
        data.mask(name)
    except DataError as error:
        kind = "unreadable" if any(words in str(error) for words in UNREADABLE) else "value"
        return dataclasses.replace(
            record, problem=str(error), problem_kind=kind, jpeg_mask=jpeg_mask, colour_count=_count_colours(image)
        )
    return dataclasses.replace(record, problem=problem, problem_kind="size", jpeg_mask=jpeg_mask)


def _measure_image(pixels: NDArray[Any], reduced: NDArray[np.uint8], name: str) -> ImageRecord:
    """A record of the image alone.

    Args:
        pixels: (C, H, W), uint8 or float32 in [0, 1].
        reduced: The same from `reduce_image`.
        name: The image; makes the digest of a blank image unique.
    """
    grey = reduced.mean(0, dtype=np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    largest = 255.0 if pixels.dtype == np.uint8 else 1.0
    # checksums of the channels and the perceptual hash together: a strong hash of every byte takes longer than decoding
    checksums = [zlib.crc32(channel) for channel in pixels]
    perceptual_hash = difference_hash(grey)
    identity = f"{pixels.shape} {checksums} {perceptual_hash} {name if low == high else ''}"
    return ImageRecord(
        size=(int(pixels.shape[1]), int(pixels.shape[2])),
        mode=_mode(pixels),
        min_value=low / largest,
        max_value=high / largest,
        mean_value=float(grey.mean()) / 255,
        digest=hashlib.blake2b(identity.encode(), digest_size=16).digest(),
        perceptual_hash=perceptual_hash,
    )


def _mode(pixels: NDArray[Any]) -> str:
    """Grey, colour or the number of channels, and whether the image has more than 8 bits."""
    channels = len(pixels)
    if channels == 1 or (channels in (3, 4) and _channels_equal(pixels[:3])):
        kind = "grey"
    elif channels in (3, 4):
        kind = "colour"
    else:
        kind = f"{channels} channels"
    return kind if pixels.dtype == np.uint8 else f"{kind}, more than 8 bits"


def _channels_equal(pixels: NDArray[Any]) -> bool:
    return all(np.array_equal(pixels[0], channel) for channel in pixels[1:])


def _count_colours(image: Tensor) -> int:
    return len(np.unique(image.flatten(1).numpy(), axis=1)[0])


def _is_jpeg(path: Path) -> bool:
    """Whether a file begins as a JPEG, whatever its suffix."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"
    return False
