"""Which of the training images are labelled."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor

from segrun.errors import RequestError


def labelled(names: Sequence[str], pixels: Tensor, wanted: str | int | float, seed: int) -> tuple[str, ...]:
    """The labelled subset of the training split: `all`, a number, or a fraction.

    pixels: (images, classes) counts. One order is drawn by `seed`, with every class shown as early as
    possible, and its first n are taken: so each subset lies inside every larger one.

    Raises:
        RequestError: not a count or fraction, zero, or more than there are.
    """
    count = labelled_count(wanted, len(names))
    order = list(range(len(names)))
    random.Random(seed).shuffle(order)
    present = pixels > 0
    missing = present.any(dim=0)
    first: list[int] = []
    for _ in range(int(missing.sum())):
        if not missing.any():
            break
        best = max((i for i in order if i not in first), key=lambda i: int((present[i] & missing).sum()))
        first.append(best)
        missing = missing & ~present[best]
    order = first + [i for i in order if i not in set(first)]
    return tuple(names[i] for i in sorted(order[:count]))


def labelled_count(wanted: str | int | float, there: int) -> int:
    try:
        number = float(there if wanted == "all" else wanted)
    except ValueError as error:
        raise RequestError(f"labels={wanted}: give all, a number of images, or a fraction such as 0.1.") from error
    fraction = number <= 1 and (isinstance(wanted, float) or "." in str(wanted))
    count = round(number * there) if fraction else number
    if not 1 <= count <= there or count != int(count):
        raise RequestError(f"labels={wanted}: makes {number:g} of the {there} training images; give 1 to {there}.")
    return int(count)
