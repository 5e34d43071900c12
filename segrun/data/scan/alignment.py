"""Whether the edges of a mask lie on those of its image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrun.types import VOID

SIDE = 96  # pixels of the shorter side of the reduced image in which edges are compared
MIN_EDGES = 8  # pixels of edges below which nothing can be inferred from them
Bytes = NDArray[np.uint8]


def reduce_image(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> Bytes:
    """Shrink an image by means over squares, so that its shorter side has about `SIDE` pixels.

    Args:
        pixels: (C, H, W), uint8 or float32 in [0, 1].

    Returns:
        (C, h, w), at most the first three channels.
    """
    bytes_ = pixels[:3] if pixels.dtype == np.uint8 else (pixels[:3] * 255).astype(np.uint8)
    step = _step(*pixels.shape[1:])
    return np.stack([np.asarray(Image.fromarray(channel).reduce(step)) for channel in bytes_])


def edge_alignment(reduced: Bytes, mask: Bytes) -> float:
    """How well the edges of the mask lie on those of the image.

    It is 2 · AUC − 1 of the gradient's strength as a predictor of an edge in the reduced image. The measure uses ranks,
    since light and contrast differ from image to image.

    Args:
        reduced: (C, h, w) from `reduce_image`.
        mask: (H, W) class indices and VOID, in full size.

    Returns:
        1 if every edge is steeper than all other pixels, about 0 if edges lie anywhere, as in the mask of another
        image; NaN if there are too few edges.
    """
    labels = _reduce_mask(mask)
    height, width = min(reduced.shape[1], labels.shape[0]), min(reduced.shape[2], labels.shape[1])
    values, labels = reduced[:, :height, :width].astype(np.int16), labels[:height, :width]
    gradients = np.zeros(3 * VOID + 1, np.int64)  # pixels by strength of the gradient
    edges = np.zeros_like(gradients)  # the same, of edges alone
    for first, second in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        gradient = np.abs(values[(..., *first)] - values[(..., *second)]).sum(0)
        edges += np.bincount(gradient[_is_edge(labels[first], labels[second])], minlength=len(edges))
        gradients += np.bincount(gradient.ravel(), minlength=len(gradients))
    others = gradients - edges
    if edges.sum() < MIN_EDGES or not others.any():
        return float("nan")
    below = np.cumsum(others) - others / 2
    return float(2 * (edges * below).sum() / (edges.sum() * others.sum()) - 1)


def _is_edge(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two neighbours are labelled and differ."""
    return np.asarray((first != second) & (first != VOID) & (second != VOID))


def _reduce_mask(mask: Bytes) -> Bytes:
    """The label in the middle of each square that `reduce_image` averages."""
    step = _step(*mask.shape)
    return mask[step // 2 :: step, step // 2 :: step]


def _step(height: int, width: int) -> int:
    return max(1, round(min(height, width) / SIDE))
