"""Shapes to pixels: known ones, two other implementations, shared edges, and what is no shape."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from skimage.draw import polygon2mask

from segrun.data.sets.polygons import Region, check_near_image, parse_points, rasterize_disc, rasterize_polygon
from segrun.errors import DataError

SIZE = (40, 50)


def drawn(region: Region, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    region.paint(mask, 1)
    assert mask.sum() == region.area
    return mask.astype(bool)


def shape(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64)


def test_a_rectangle_on_pixel_edges_covers_those_pixels() -> None:
    expected = np.zeros(SIZE, bool)
    expected[3:7, 2:12] = True
    assert (drawn(rasterize_polygon(shape((2, 3), (12, 3), (12, 7), (2, 7)), SIZE)) == expected).all()


def test_a_pixel_is_in_when_its_centre_is() -> None:
    assert drawn(rasterize_polygon(shape((0, 0), (3, 0), (0, 3)), (3, 3)), (3, 3)).tolist() == [
        [True, True, False],  # (2.5, 0.5) lies on the edge: it belongs to what is right of it
        [True, False, False],
        [False, False, False],
    ]


@pytest.mark.parametrize("seed", range(30))
def test_any_polygon_is_that_of_two_other_implementations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-15, -15), (65, 55), (int(rng.integers(3, 12)), 2))  # crossing itself and the border
    mask = drawn(rasterize_polygon(points, SIZE))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    centres = np.stack((x.ravel(), y.ravel()), axis=1) + 0.5
    closed = np.concatenate((points, points[:1]))
    assert (mask == Outline(closed).contains_points(centres).reshape(SIZE)).all()
    assert (mask == polygon2mask(SIZE, points[:, ::-1] - 0.5)).all()  # its centres are whole numbers


@pytest.mark.parametrize("seed", range(10))
def test_neighbours_share_every_pixel_of_an_edge_once(seed: int) -> None:
    """Triangles about a point that together are a square; corners on centres, where ties are."""
    rng = np.random.default_rng(seed)
    middle = rng.integers(6, 30, 2) + 0.5
    ring = shape((5.5, 5.5), (20.5, 5.5), (35.5, 5.5), (35.5, 35.5), (5.5, 35.5), (5.5, 11.5))
    count = np.zeros(SIZE, int)
    for one, other in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        count += drawn(rasterize_polygon(np.stack((middle, one, other)), SIZE))
    assert (count == drawn(rasterize_polygon(ring, SIZE))).all() and count.sum() == 30 * 30


def test_where_an_outline_crosses_itself_the_twice_enclosed_is_outside() -> None:
    twice = shape((0, 0), (9, 0), (9, 9), (0, 9), (0, 0), (3, 3), (6, 3), (6, 6), (3, 6), (3, 3))
    mask = drawn(rasterize_polygon(twice, (9, 9)), (9, 9))
    assert mask.sum() == 81 - 9 and not mask[3:6, 3:6].any()


@pytest.mark.parametrize("move", [(-100, 0), (100, 0), (0, -100), (0, 100)])
def test_what_lies_outside_the_image_draws_nothing(move: tuple[int, int]) -> None:
    assert not drawn(rasterize_polygon(shape((2, 2), (12, 2), (12, 12)) + move, SIZE)).any()


def test_a_line_has_no_pixels() -> None:
    assert rasterize_polygon(shape((2, 2.5), (30, 2.5), (10, 2.5)), SIZE).area == 0


@pytest.mark.parametrize(("centre", "radius"), [((20.0, 20.0), 7.3), ((-3.0, 39.0), 12.0), ((25.2, 90.0), 3.0)])
def test_a_disc_holds_the_centres_within_its_radius(centre: tuple[float, float], radius: float) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    expected = np.hypot(x - centre[0], y - centre[1]) < radius
    assert (drawn(rasterize_disc(np.array(centre), radius, SIZE)) == expected).all()


def test_points_come_flat_or_in_pairs_as_numbers_or_words() -> None:
    expected = [[1, 2], [3, 4], [5, 6.5]]
    for values in ([1, 2, 3, 4, 5, 6.5], expected, ["1", "2", "3", "4", "5", "6.5"]):
        assert parse_points(values, "here").tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, 3, 4], r"file:3: 2 points; 3 are needed"),
        ([1, 2, 3, 4, 5], r"file:3: 5 coordinates are not pairs"),
        ([], r"file:3: 0 points"),
        ([1, 2, 3, 4, 5, "x"], r"file:3: points must be pairs of numbers"),
        ([1, 2, 3, 4, 5, "nan"], r"file:3: points must be pairs of numbers"),
        ([[1, 2], [3], [4, 5]], r"file:3: points must be pairs of numbers"),
        (None, r"file:3: points must be pairs of numbers"),
        ({"x": 1}, r"file:3: points must be pairs of numbers"),
    ],
)
def test_what_is_no_polygon_is_refused_with_its_place(values: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_points(values, "file:3")


def test_a_shape_of_another_image_is_refused() -> None:
    check_near_image(shape((-2, -2), (60, 45)), SIZE, "file:3")
    with pytest.raises(DataError, match=r"file:3: the point \(10, 700\) lies far outside the image of 50×40"):
        check_near_image(shape((1, 1), (10, 700)), SIZE, "file:3")
