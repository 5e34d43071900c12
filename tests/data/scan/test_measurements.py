"""Class counts and edge alignment, compared with the plain way to measure them."""

from __future__ import annotations

import numpy as np
import pytest

from segrun.data.scan import class_counts
from segrun.data.scan.alignment import edge_alignment, reduce_image
from segrun.data.scan.class_counts import count_classes
from segrun.data.scan.record import STRIDES
from segrun.types import VOID


def left_at(mask: np.ndarray, classes: int, stride: int) -> list[int]:
    left = np.zeros(classes, int)
    for top in range(0, mask.shape[0], stride):
        for side in range(0, mask.shape[1], stride):
            cell = np.bincount(mask[top : top + stride, side : side + stride].ravel(), minlength=256)[:classes]
            left += cell * (cell == cell.max())
    return left.tolist()


@pytest.mark.parametrize("size", [(64, 96), (61, 83), (3, 5), (1, 200)])
def test_pixels_and_what_each_stride_leaves_are_those_counted_cell_by_cell(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_counts, "ROWS", 32)  # several bands
    rng = np.random.default_rng(size[0])
    coarse = rng.integers(0, 5, (-(-size[0] // 3), -(-size[1] // 3)), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((3, 3), np.uint8))[: size[0], : size[1]].copy()
    mask[mask == 4] = VOID
    counts, void = count_classes(mask, classes=6)
    assert counts[0].tolist() == [int((mask == c).sum()) for c in range(6)] and void == int((mask == VOID).sum())
    for row, stride in enumerate(STRIDES, 1):
        assert counts[row].tolist() == left_at(mask, 6, stride)


def test_a_thin_line_is_lost_at_coarse_strides_and_a_block_is_not() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 9:11] = 1
    mask[32:, 32:] = 2
    counts, _ = count_classes(mask, 3)
    assert counts[:, 1].tolist() == [128, 128, 0, 0, 0] and counts[:, 2].tolist() == [1024] * 5


def test_a_mask_that_is_void_throughout_counts_nothing() -> None:
    counts, void = count_classes(np.full((10, 12), VOID, np.uint8), 3)
    assert not counts.any() and void == 120


def square(top: int, left: int, noise: int = 60) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(top).integers(0, noise, (3, 90, 120), dtype=np.uint8)
    mask = np.zeros((90, 120), np.uint8)
    image[:, top : top + 30, left : left + 30] += 150
    mask[top : top + 30, left : left + 30] = 1
    return image, mask


def test_alignment_tells_an_images_own_mask_from_another() -> None:
    (image, own), (_, other) = square(10, 20), square(45, 70)
    assert edge_alignment(reduce_image(image), own) > 0.95
    assert abs(edge_alignment(reduce_image(image), other)) < 0.2
    assert edge_alignment(reduce_image(image // 3 + 20), own) > 0.95  # light and contrast do not matter


def test_alignment_is_the_area_under_the_curve() -> None:
    image, mask = square(10, 20, noise=200)
    small = reduce_image(image).astype(int)
    steep, edge = [], []
    for axis in (0, 1):
        steep.append(np.abs(np.diff(small, axis=axis + 1)).sum(0).ravel())
        edge.append(np.diff(mask.astype(int), axis=axis).ravel() != 0)
    edges, rest = np.concatenate(steep)[np.concatenate(edge)], np.concatenate(steep)[~np.concatenate(edge)]
    above = (edges[:, None] > rest).mean() + 0.5 * (edges[:, None] == rest).mean()
    assert edge_alignment(reduce_image(image), mask) == pytest.approx(2 * above - 1)


def test_without_edges_between_labels_nothing_is_said_of_the_alignment() -> None:
    image, mask = square(10, 20)
    assert np.isnan(edge_alignment(reduce_image(image), np.zeros_like(mask)))
    assert np.isnan(edge_alignment(reduce_image(image), np.where(mask == 1, 1, VOID).astype(np.uint8)))
