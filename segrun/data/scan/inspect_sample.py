"""Measuring one image and its mask."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.read.images import read_orientation
from segrun.data.scan.alignment import edge_alignment, reduce_image
from segrun.data.scan.class_counts import count_classes
from segrun.data.scan.hashing import difference_hash
from segrun.data.scan.record import ImageRecord
from segrun.errors import DataError, UnreadableError

QUARTER_TURN = 5  # EXIF orientations from here on exchange height and width


def inspect_sample(data: Dataset, name: str) -> ImageRecord:
    """Read an image and its mask once and measure both.

    What is wrong with the files is part of the record, not an exception.
    """
    files = data.files(name)[:2]
    orientation = _turned_alone(files) if data.exif == "apply" else 1
    jpeg_mask = any(_is_jpeg(path) for path in files[1:])
    try:
        sample = data.sample(name)  # both together, since many data sets decode the same file for both
    except DataError as error:
        damaged = _inspect_damaged(data, name, str(error))
        return dataclasses.replace(
            damaged, jpeg_mask=jpeg_mask, is_turned=orientation > 1 and damaged.problem_kind == "size"
        )
    pixels = sample.image.contiguous().numpy()
    reduced = reduce_image(pixels)
    mask = np.ascontiguousarray(sample.mask.numpy())
    class_counts, void_pixels = count_classes(mask, len(data.classes))
    return dataclasses.replace(
        _measure_image(pixels, reduced, name),
        jpeg_mask=jpeg_mask,
        is_turned=_is_ambiguous(orientation, mask.shape),
        mask_checksum=zlib.crc32(mask.data),
        void_pixels=void_pixels,
        alignment=edge_alignment(reduced, mask),
        class_counts=class_counts,
    )


def _inspect_damaged(data: Dataset, name: str, problem: str) -> ImageRecord:
    """The record of a sample that cannot be used. problem: why."""
    try:
        image = data.image(name)
    except DataError as error:
        return ImageRecord(str(error), "unreadable")
    pixels = image.contiguous().numpy()
    record = _measure_image(pixels, reduce_image(pixels), name)
    try:
        data.mask(name)
    except DataError as error:
        kind = "unreadable" if isinstance(error, UnreadableError) else "value"
        return dataclasses.replace(record, problem=str(error), problem_kind=kind, colour_count=_count_colours(image))
    return dataclasses.replace(record, problem=problem, problem_kind="size")


def _turned_alone(files: Sequence[Path]) -> int:
    """The EXIF orientation of an image; 1 if its mask has one, too, and is turned like it."""
    orientation, *masks = map(read_orientation, files)
    return 1 if any(mask > 1 for mask in masks) else orientation


def _is_ambiguous(orientation: int, size: Sequence[int]) -> bool:
    """Whether an image and its mask have equal sizes whether or not the image is turned. size: (height, width)."""
    return orientation > 1 and (orientation < QUARTER_TURN or size[0] == size[1])


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
