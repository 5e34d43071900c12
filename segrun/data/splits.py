"""Which image is in which split, and which of the training images are labelled."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from segrun.errors import RequestError, listed


def by_fractions(names: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, tuple[str, ...]]:
    """Draw the splits once, by their own seed: the test images stay the same over training seeds.

    Raises:
        RequestError: fractions outside 0…1 or over 1 in all, or too few images for a split asked for.
    """
    total = sum(fractions.values())
    if any(f < 0 for f in fractions.values()) or not 0 < total <= 1 + 1e-9:
        shown = " ".join(f"dataset.split.{k}={v}" for k, v in fractions.items())
        raise RequestError(f"{shown}: fractions lie between 0 and 1 and add up to 1 at most.")
    order = sorted(names)
    random.Random(seed).shuffle(order)
    splits: dict[str, tuple[str, ...]] = {}
    start, reached = 0, 0.0
    for split, fraction in fractions.items():
        reached += fraction
        end = round(reached * len(order))
        splits[split] = tuple(sorted(order[start:end]))
        start = end
    if empty := [s for s, f in fractions.items() if (f > 0 or s != "test") and not splits[s]]:
        raise RequestError(
            f"{len(order)} images leave none for {listed(empty)}. Change dataset.split.*, or add images."
        )
    return {split: names for split, names in splits.items() if names}


def from_list(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    """A text file with a name a line, with or without suffix.

    Raises:
        RequestError: the file is missing, empty, or names an image that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: this split list cannot be read ({error}).") from error
    there = set(known)
    names = [
        line.strip() if line.strip() in there else line.strip().rpartition(".")[0] for line in lines if line.strip()
    ]
    if unknown := [
        line.strip() for line, name in zip(filter(str.strip, lines), names, strict=True) if name not in there
    ]:
        raise RequestError(f"{path}: {len(unknown)} names without a pair of image and mask: {listed(unknown)}.")
    if not names:
        raise RequestError(f"{path}: this split list is empty.")
    return tuple(dict.fromkeys(names))


def disjoint(splits: Mapping[str, Sequence[str]]) -> None:
    """Raises RequestError where an image is in two splits: the scores would be of no worth."""
    seen: dict[str, str] = {}
    for split, names in splits.items():
        if twice := [name for name in names if seen.setdefault(name, split) != split]:
            raise RequestError(f"{len(twice)} images are in both {seen[twice[0]]} and {split}: {listed(twice)}.")


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
