"""Which of the training images are labelled."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor

from segrun.errors import RequestError


def label_subset(names: Sequence[str], pixel_counts: Tensor, labels: str | int | float, seed: int) -> tuple[str, ...]:
    """The labelled subset of the training split.

    One order of the images is drawn by `seed`, in which every class appears as early as possible. The first images of
    it are taken, so that each subset lies inside every larger one.

    Args:
        names: The training images.
        pixel_counts: (N, classes) labelled pixels.
        labels: "all", a number of images, or a fraction.
        seed: Seed of the order.

    Returns:
        The chosen names, in their original order.

    Raises:
        RequestError: `labels` is neither a number nor a fraction, or makes no image or more than there are.
    """
    count = label_count(labels, len(names))
    order = list(range(len(names)))
    random.Random(seed).shuffle(order)
    first = _cover_classes(order, pixel_counts > 0)
    ranked = first + [index for index in order if index not in set(first)]
    return tuple(names[index] for index in sorted(ranked[:count]))


def _cover_classes(order: Sequence[int], present: Tensor) -> list[int]:
    """Images that together show every class: each shows most of the classes that the earlier ones lack.

    present: (N, classes) bool.
    """
    missing = present.any(dim=0)
    chosen: list[int] = []
    while missing.any():
        new_classes = (present & missing).sum(dim=1)
        best = max(order, key=lambda index: int(new_classes[index]))
        chosen.append(best)
        missing = missing & ~present[best]
    return chosen


def label_count(labels: str | int | float, images: int) -> int:
    """The number of labelled images.

    Args:
        labels: "all", a number of images, or a fraction (1.0 and "1.0" are fractions, 1 is a number).
        images: Number of training images.

    Raises:
        RequestError: As for `label_subset`.
    """
    try:
        number = float(images if labels == "all" else labels)
    except ValueError as error:
        raise RequestError(f"labels={labels}: give all, a number of images, or a fraction such as 0.1.") from error
    is_fraction = number <= 1 and (isinstance(labels, float) or "." in str(labels))
    count = round(number * images) if is_fraction else number
    if not 1 <= count <= images or count != int(count):
        raise RequestError(f"labels={labels}: makes {number:g} of the {images} training images. Give 1 to {images}.")
    return int(count)
