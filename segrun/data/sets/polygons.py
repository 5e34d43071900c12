"""Outlines to pixels.

A pixel belongs to a shape if its centre lies inside. Coordinates are continuous, x to the right and y down: the pixel
in row i and column j covers [j, j + 1) × [i, i + 1). A point is inside if an odd number of edges separates it from the
outside (even–odd rule). A centre on an edge belongs to the shape to its right or below it, so that shapes that share
an edge neither overlap nor leave a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError

Points = NDArray[np.float64]  # (N, 2) x and y
Size = tuple[int, ...]  # height, width


@dataclass(frozen=True)
class Region:
    """The pixels of a shape, in a box of the mask.

    Attributes:
        top: First row of the box.
        left: First column of the box.
        inside: (rows, columns) of the box, true where a pixel belongs to the shape.
    """

    top: int
    left: int
    inside: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.inside.sum())

    def paint(self, mask: NDArray[np.uint8], value: int) -> None:
        """Set the shape's pixels in a mask."""
        height, width = self.inside.shape
        mask[self.top : self.top + height, self.left : self.left + width][self.inside] = value


def parse_points(values: object, place: str, minimum: int = 3) -> Points:
    """The points of an outline.

    Args:
        values: Pairs, or x, y, x, y, …; as numbers or as digits.
        place: File and line or entry, for the message.
        minimum: Number of points that are needed.

    Returns:
        (N, 2) x and y.

    Raises:
        DataError: They are not finite numbers, an odd count of them, or fewer than `minimum` points.
    """
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all() or numbers.shape[1:] not in ((), (2,)):
        raise DataError(f"{place}: points must be pairs of numbers. Correct it or remove the shape.")
    if numbers.size % 2:
        raise DataError(f"{place}: {numbers.size} coordinates are not pairs. Correct it or remove the shape.")
    if numbers.size < 2 * minimum:
        raise DataError(f"{place}: {numbers.size // 2} points; {minimum} are needed. Correct it or remove the shape.")
    return numbers.reshape(-1, 2)


def check_near_image(points: Points, size: Size, place: str) -> None:
    """Refuse a shape that was drawn on another image. Parts of a shape may lie outside the image.

    Args:
        points: (N, 2) x and y in pixels.
        size: Height and width of the image.
        place: File and line or entry, for the message.

    Raises:
        DataError: A point lies farther outside than the image is wide or high.
    """
    width_height = np.array([size[1], size[0]])
    is_far = ((points < -width_height) | (points > 2 * width_height)).any(axis=1)
    if is_far.any():
        x, y = points[is_far][0]
        raise DataError(
            f"{place}: the point ({x:g}, {y:g}) lies far outside the image of {size[1]}×{size[0]}. "
            "Correct it or remove the shape."
        )


def rasterize_polygon(points: Points, size: Size) -> Region:
    """The pixels inside a closed polygon.

    Each edge toggles, in each row that it crosses, all pixels to its right.

    Args:
        points: (N, 2) x and y in pixels.
        size: Height and width of the mask.
    """
    next_points = np.roll(points, -1, axis=0)
    # from the upper end to the lower one, so that two shapes that share an edge compute the same crossings
    runs_down = (points[:, 1] < next_points[:, 1])[:, None]
    upper = np.where(runs_down, points, next_points)
    lower = np.where(runs_down, next_points, points)
    first_row, end_row = _first_centre(upper[:, 1], size[0]), _first_centre(lower[:, 1], size[0])
    row_count = end_row - first_row  # rows whose centres an edge crosses
    if not row_count.any():
        return Region(0, 0, np.zeros((0, 0), bool))
    edge = np.repeat(np.arange(len(points)), row_count)  # one entry for each crossing
    step = np.arange(len(edge)) - np.repeat(np.cumsum(row_count) - row_count, row_count)
    row = first_row[edge] + step
    (x, y), (dx, dy) = upper[edge].T, (lower - upper)[edge].T
    column = _first_centre(x + (row + 0.5 - y) * dx / dy, size[1])
    top, left = row.min(), column.min()
    toggles = np.zeros((row.max() + 1 - top, column.max() + 1 - left), bool)
    np.logical_xor.at(toggles, (row - top, column - left), True)
    return Region(int(top), int(left), np.logical_xor.accumulate(toggles, axis=1)[:, :-1])


def rasterize_disc(centre: Points, radius: float, size: Size) -> Region:
    """The pixels inside a circle.

    Args:
        centre: (2,) x and y in pixels.
        radius: In pixels.
        size: Height and width of the mask.
    """
    width_height = np.array([size[1], size[0]])
    left, top = np.clip(np.floor(centre - radius), 0, width_height).astype(int)
    right, bottom = np.clip(np.ceil(centre + radius), 0, width_height).astype(int)
    x = np.arange(left, right) + 0.5 - centre[0]
    y = np.arange(top, bottom) + 0.5 - centre[1]
    return Region(int(top), int(left), x**2 + y[:, None] ** 2 < radius**2)


def _first_centre(coordinate: NDArray[np.float64], length: int) -> NDArray[np.int64]:
    """The first row (or column) whose centre lies at or beyond a coordinate, at most `length`."""
    return np.clip(np.ceil(coordinate - 0.5), 0, length).astype(int)
