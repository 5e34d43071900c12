"""The rules that judge single images and masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from segrun.data.scan.evidence import Evidence
from segrun.data.scan.findings import Violation, count_images
from segrun.errors import join_names

MAX_PROBLEMS = 3  # that a finding's text names
MIN_MASKS = 8  # with an alignment; among fewer none is an outlier
MIN_SPREAD = 0.03  # of the alignment: if all masks fit equally well, a slightly worse one is not suspicious
MAD_TO_DEVIATION = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


def pairs(e: Evidence) -> Iterator[Violation]:
    """Problems that the data set found while it listed its files."""
    for problem in e.data.problems:
        yield (), problem


def unreadable(e: Evidence) -> Iterator[Violation]:
    """Files that cannot be read."""
    yield from _damaged(e, "unreadable", "cannot be read", lambda name: True)


def size(e: Evidence) -> Iterator[Violation]:
    """Masks of another size than their image."""
    yield from _damaged(e, "size", "with a mask of another size", lambda name: True)


def value(e: Evidence) -> Iterator[Violation]:
    """Values in a mask that are no class."""
    description = "with values in the mask that are no class"
    yield from _damaged(e, "value", description, lambda name: not _looks_like_mask(e, name))


def swapped(e: Evidence) -> Iterator[Violation]:
    """An image's file among the masks, and its mask among the images."""
    description = "with as few colours as a mask, and a mask that is none. Were the two files swapped?"
    yield from _damaged(e, "value", description, lambda name: _looks_like_mask(e, name))


def _looks_like_mask(e: Evidence, name: str) -> bool:
    """Whether an image has as few colours as a mask of these classes."""
    return 0 < e.scan[name].colour_count <= max(3, len(e.data.classes) + 1)


def _damaged(e: Evidence, kind: str, description: str, applies: Callable[[str], bool]) -> Iterator[Violation]:
    """The images with a problem of this kind.

    Args:
        e: The evidence.
        kind: As `ImageRecord.problem_kind`.
        description: What is wrong with the images.
        applies: Whether the rule is for an image.
    """
    names = [name for name in e.scan.names if e.scan[name].problem_kind == kind and applies(name)]
    if not names:
        return
    text = f"{count_images(len(names))} {description}:\n"
    text += "\n".join(e.scan[name].problem for name in names[:MAX_PROBLEMS])
    if len(names) > MAX_PROBLEMS:
        text += f"\n… and {len(names) - MAX_PROBLEMS} more."
    if kind == "value" and any(e.scan[name].jpeg_mask for name in names):
        text += "\nJPEG changes the values of masks: save them as PNG, from the originals."
    yield names, text


def mismatched(e: Evidence) -> Iterator[Violation]:
    """Masks whose edges do not lie on those of the image."""
    alignments = {name: e.readable[name].alignment for name in e.readable.names}
    alignments = {name: alignment for name, alignment in alignments.items() if not math.isnan(alignment)}
    if len(alignments) < MIN_MASKS:
        return
    values = np.array(list(alignments.values()))
    median = float(np.median(values))
    spread = max(MIN_SPREAD, MAD_TO_DEVIATION * float(np.median(np.abs(values - median))))
    limit = min(median - e.limits.deviations * spread, median / 2)
    names = sorted((name for name, alignment in alignments.items() if alignment < limit), key=alignments.__getitem__)
    if names:
        yield (
            names,
            f"{count_images(len(names))} with masks whose edges do not lie on the image's: {join_names(names)}. "
            "Another image's mask, or a shifted one?",
        )


def blank(e: Evidence) -> Iterator[Violation]:
    """Images of a single colour."""
    names = [name for name in e.readable.names if e.readable[name].is_blank]
    if names:
        yield names, f"{count_images(len(names))} of a single colour: {join_names(names)}."


def jpeg_masks(e: Evidence) -> Iterator[Violation]:
    """Masks compressed as JPEG."""
    names = [name for name in e.scan.names if e.scan[name].jpeg_mask]
    if names:
        yield (
            names,
            f"{count_images(len(names))} with JPEG-compressed masks, which changes labels: {join_names(names)}. "
            "Save PNG.",
        )


def one_value(e: Evidence) -> Iterator[Violation]:
    """Masks of one class throughout. The first class, the background, counts only if such masks are many."""
    by_class: dict[int, list[str]] = {}
    for name in e.readable.names:
        record = e.readable[name]
        present = np.flatnonzero(record.pixel_counts)
        if len(present) == 1 and not record.void_pixels:
            by_class.setdefault(int(present[0]), []).append(name)
    for index, names in sorted(by_class.items()):
        if index > 0 or len(names) > e.limits.empty * len(e.readable.names):
            description = f"with masks that are {e.data.classes.names[index]!r} throughout"
            yield names, f"{count_images(len(names))} {description}: {join_names(names)}."


def void_masks(e: Evidence) -> Iterator[Violation]:
    """Masks without a label."""
    names = [name for name in e.readable.names if not e.readable[name].pixel_counts.any()]
    if names:
        yield names, f"{count_images(len(names))} with masks without a single label: {join_names(names)}."


def turned(e: Evidence) -> Iterator[Violation]:
    """Images that their EXIF orientation turns, while nothing turns their masks."""
    names = [name for name in e.scan.names if e.scan[name].is_turned]
    if names:
        yield (
            names,
            f"{len(names)} of {count_images(len(e.scan.names))} are turned as their EXIF orientation says, their masks "
            f"are not: {join_names(names)}. If the masks were drawn on the stored pixels, set dataset.exif=ignore, "
            "or remove the orientation from the files.",
        )
