"""Counting the pixels of each class, and those that coarser outputs keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.data.scan.record import STRIDES, Counts
from segrun.types import VOID

ROWS = 512  # rows counted at a time, so that memory stays constant for whole slides


def count_classes(mask: NDArray[np.uint8], classes: int) -> tuple[Counts, int]:
    """Count the pixels of a mask.

    Args:
        mask: (H, W) class indices and VOID.
        classes: Number of classes.

    Returns:
        (1 + strides, classes) pixels as in `ImageRecord.class_counts`, and the number of void pixels.
    """
    counts = np.zeros((1 + len(STRIDES), classes), np.int64)
    for top in range(0, len(mask), ROWS):
        _add_counts(counts, mask[top : top + ROWS])
    return counts, mask.size - int(counts[0].sum())


def _add_counts(counts: Counts, band: NDArray[np.uint8]) -> None:
    """Add the pixels of some rows of a mask to `counts`."""
    values = band.tobytes()
    present = [label for label in range(counts.shape[1]) if label in values]
    if not present:
        return
    height, width = band.shape
    padding = ((0, -height % STRIDES[-1]), (0, -width % STRIDES[-1]))
    padded = np.pad(band, padding, constant_values=VOID)
    cells: NDArray[Any] = np.stack([_count_4x4(padded == label) for label in present])
    counts[0, present] += _total(cells)
    for row in range(1, 1 + len(STRIDES)):
        if row > 1:
            cells = _sum_2x2(cells.astype(np.uint16))
        most_frequent = cells == cells.max(0)
        counts[row, present] += _total(cells * most_frequent)


def _count_4x4(plane: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W) → (H/4, W/4): the number of true pixels in each square of 4 × 4, counted four bytes at a time."""
    words = plane.view(np.uint32)
    rows = words[::4] + words[1::4] + words[2::4] + words[3::4]
    return (rows * np.uint32(0x01010101) >> np.uint32(24)).astype(np.uint8)


def _sum_2x2(cells: NDArray[Any]) -> NDArray[Any]:
    """(…, H, W) → (…, H/2, W/2): sums over squares of 2 × 2."""
    pairs = cells[..., ::2, :] + cells[..., 1::2, :]
    return np.asarray(pairs[..., ::2] + pairs[..., 1::2])


def _total(cells: NDArray[Any]) -> Counts:
    return np.asarray(cells.reshape(len(cells), -1).sum(1, dtype=np.int64))
