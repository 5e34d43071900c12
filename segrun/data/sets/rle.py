"""Run-length encoded masks as COCO's API writes them (Lin et al., ECCV 2014).

Runs go column by column, and the first run is of zeros. pycocotools decodes them, too, but reads beyond its memory
where the runs do not fill the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Runs = Sequence[int]  # lengths, alternating between zeros and ones
CONTINUES = 32  # bit of a character: the number continues in the next one
SIGN = 16  # bit of a number's last character


def parse_runs(counts: str | bytes | Runs, size: tuple[int, ...]) -> Runs:
    """The lengths of the runs.

    Args:
        counts: The lengths, or a compressed string of them.
        size: Height and width of the mask.

    Raises:
        ValueError: They are not lengths, or do not fill the mask.
    """
    runs = _decompress(counts) if isinstance(counts, str | bytes) else counts
    if not isinstance(runs, Sequence) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError("its counts are not run lengths")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs cover {sum(runs)} pixels of {size[0] * size[1]}")
    return runs


def runs_to_mask(runs: Runs, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W), true in every second run."""
    is_one = np.arange(len(runs)) % 2 == 1
    return np.repeat(is_one, runs).reshape(size[1], size[0]).T


def _decompress(counts: str | bytes) -> list[int]:
    """The run lengths in a compressed string.

    A character holds five bits of a number, the lowest first, and whether the number continues. The highest bit of the
    last character is the sign. From the fourth number on, a number is the difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its counts are not run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & CONTINUES:
            continue
        if bits & SIGN:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        value = shift = 0
    if shift:
        raise ValueError("its counts end within a number")
    return runs
