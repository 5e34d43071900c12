"""Run-length encoded masks, as COCO's API writes them (Lin et al., ECCV 2014): column by column, the first run is of
zeros. pycocotools decodes them, too, but reads past the end of its memory where runs do not fill the mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Runs = Sequence[int]


def runs_of(counts: str | bytes | Runs, size: tuple[int, ...]) -> Runs:
    """The lengths of the runs, out of a compressed string or as they are.

    Raises:
        ValueError: they are no lengths, or do not fill a mask of this size.
    """
    runs = _decompressed(counts) if isinstance(counts, str | bytes) else counts
    if not isinstance(runs, Sequence) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError("its counts are no run lengths")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs cover {sum(runs)} pixels of {size[0] * size[1]}")
    return runs


def inside(runs: Runs, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W), true in every second run."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T


def _decompressed(counts: str | bytes) -> list[int]:
    """Each character holds five bits and whether more of this number follow, the lowest first; the last one's highest
    bit is the sign. From the fourth number on it is the difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its counts are no run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits >> 4 & 1) << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its counts end within a number")
    return runs
