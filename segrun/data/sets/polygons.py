"""Shapes to pixels.

A pixel belongs to a shape if its centre lies inside: coordinates are continuous, x to the right and y down, the pixel
in row i and column j covers [j, j + 1) × [i, i + 1). Inside is what an odd number of edges parts from the outside
(even–odd rule). A centre on an edge belongs to the shape on its right or below it, so that shapes that share an edge
neither overlap nor leave a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segrun.errors import DataError

Points = NDArray[np.float64]
Size = tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """inside: which pixels of the box that begins at row `top` and column `left` belong to the shape."""

    top: int
    left: int
    inside: NDArray[np.bool_]

    @property
    def area(self) -> int:
        return int(self.inside.sum())

    def paint(self, mask: NDArray[np.uint8], value: int) -> None:
        height, width = self.inside.shape
        mask[self.top : self.top + height, self.left : self.left + width][self.inside] = value


def corners(values: object, place: str, least: int = 3) -> Points:
    """(N, 2) x and y, from pairs or from x, y, x, y, …

    place: file and line or entry, for the message.

    Raises:
        DataError: no numbers, an odd count, or fewer than `least` points.
    """
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise DataError(f"{place}: points are pairs of numbers. Correct it or remove the shape.")
    if found.size % 2:
        raise DataError(f"{place}: {found.size} coordinates make no pairs. Correct it or remove the shape.")
    if found.size < 2 * least:
        raise DataError(f"{place}: {found.size // 2} points; {least} are needed. Correct it or remove the shape.")
    return found.reshape(-1, 2)


def of_the_image(points: Points, size: Size, place: str) -> None:
    """Parts of a shape may lie outside the image. Raises DataError where a point is farther out than the image is wide
    or high: it was drawn on another."""
    wide = np.array([size[1], size[0]])
    far = points[((points < -wide) | (points > 2 * wide)).any(axis=1)]
    if len(far):
        x, y = far[0]
        raise DataError(f"{place}: the point ({x:g}, {y:g}) lies far outside the image of {size[1]}×{size[0]}.")


def polygon(points: Points, size: Size) -> Region:
    """The inside of a closed polygon in a mask of `size`. points: (N, 2) x and y in pixels."""
    following = np.roll(points, -1, axis=0)
    down = (points[:, 1] < following[:, 1])[:, None]  # edges run down, so that both neighbours see the same one
    upper, lower = np.where(down, points, following), np.where(down, following, points)
    first, past = (np.clip(np.ceil(end[:, 1] - 0.5), 0, size[0]).astype(int) for end in (upper, lower))
    rows = past - first  # whose centres an edge crosses
    if not rows.any():
        return Region(0, 0, np.zeros((0, 0), bool))
    edge = np.repeat(np.arange(len(points)), rows)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows)
    (x, y), (dx, dy) = upper[edge].T, (lower - upper)[edge].T
    crossing = x + (row + 0.5 - y) * dx / dy
    column = np.clip(np.ceil(crossing - 0.5), 0, size[1]).astype(int)
    top, left = row.min(), column.min()
    turns = np.zeros((row.max() + 1 - top, column.max() + 1 - left), bool)
    np.logical_xor.at(turns, (row - top, column - left), True)
    return Region(int(top), int(left), np.logical_xor.accumulate(turns, axis=1)[:, :-1])


def disc(centre: Points, radius: float, size: Size) -> Region:
    """The inside of a circle in a mask of `size`. centre: (2,) x and y in pixels."""
    wide = np.array([size[1], size[0]])
    left, top = np.clip(np.floor(centre - radius), 0, wide).astype(int)
    right, bottom = np.clip(np.ceil(centre + radius), 0, wide).astype(int)
    x, y = np.arange(left, right) + 0.5 - centre[0], np.arange(top, bottom) + 0.5 - centre[1]
    return Region(int(top), int(left), x**2 + y[:, None] ** 2 < radius**2)
