"""COCO's segmentations: polygons, and run lengths as its API writes them (Lin et al., ECCV 2014).

Runs go column by column, and the first run is of zeros. pycocotools decodes them, too, but reads beyond its memory
where the runs do not fill the mask.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.data.sets.polygons import check_near_image, parse_points
from segrun.errors import DataError, import_extra

Runs = Sequence[int]  # lengths, alternating between zeros and ones
CONTINUES = 32  # bit of a character: the number continues in the next one
SIGN = 16  # bit of a number's last character


def segmentation_runs(segmentation: Any, size: tuple[int, ...], place: str) -> Runs:
    """The run lengths of an annotation: those of its polygons, or as they are.

    Args:
        segmentation: Polygons `[[x, y, …], …]`, one polygon `[x, y, …]`, or `{size, counts}`.
        size: Height and width of the image.
        place: File and annotation, for messages.

    Raises:
        DataError: It is none of these, or does not fit the image.
    """
    if not segmentation or not isinstance(segmentation, list | dict):
        raise DataError(f"{place}: has no segmentation, perhaps a box. Draw its outline, or remove it.")
    if isinstance(segmentation, list):
        is_flat = not any(isinstance(entry, list) for entry in segmentation)
        counts = _polygon_counts([segmentation] if is_flat else segmentation, size, place)
    else:
        counts = segmentation.get("counts")
        if list(size) != segmentation.get("size"):
            stated = reprlib.repr(segmentation.get("size"))
            raise DataError(f"{place}: its size is {stated}, that of the image {list(size)}. Export it again.")
    try:
        return parse_runs(counts, size)
    except ValueError as error:
        raise DataError(f"{place}: {error}. Export it again.") from error


def _polygon_counts(outlines: Sequence[Any], size: tuple[int, ...], place: str) -> Any:
    """The compressed run lengths of the union of some polygons."""
    pycocotools_mask = import_extra("pycocotools.mask", "coco")
    polygons = [parse_points(outline, place) for outline in outlines]
    for points in polygons:
        check_near_image(points, size, place)
    encoded = pycocotools_mask.frPyObjects([points.ravel().tolist() for points in polygons], *size)
    return pycocotools_mask.merge(encoded)["counts"]


def parse_runs(counts: str | bytes | Runs, size: tuple[int, ...]) -> Runs:
    """The lengths of the runs.

    Args:
        counts: The lengths, or a compressed string of them.
        size: Height and width of the mask.

    Raises:
        ValueError: They are not lengths, or do not fill the mask.
    """
    runs = _decompress(counts) if isinstance(counts, str | bytes) else counts
    if not isinstance(runs, Sequence) or not all(type(run) is int and run >= 0 for run in runs):
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
