"""The rules that judge single images and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from segrun.data.scan.findings import Evidence, Told, images
from segrun.errors import join_names

SHOWN = 3  # problems that a finding's text names
FEWEST = 8  # masks below which no alignment is out of the ordinary
LEAST_SPREAD = 0.03  # of the alignment: a set in which all fit the same is no reason to suspect a slightly worse one


def pairs(e: Evidence) -> Iterator[Told]:
    for problem in e.data.problems:
        yield (), problem


def unreadable(e: Evidence) -> Iterator[Told]:
    yield from _damaged(e, "unreadable", "cannot be read", lambda name: True)


def size(e: Evidence) -> Iterator[Told]:
    yield from _damaged(e, "size", "have a mask of another size", lambda name: True)


def value(e: Evidence) -> Iterator[Told]:
    yield from _damaged(
        e, "value", "have values in their masks that are no class", lambda name: not _exchanged(e, name)
    )


def swapped(e: Evidence) -> Iterator[Told]:
    what = "have as few colours as a mask, and their masks are none: were the two files exchanged?"
    yield from _damaged(e, "value", what, lambda name: _exchanged(e, name))


def _exchanged(e: Evidence, name: str) -> bool:
    return 0 < e.survey[name].levels <= max(3, len(e.data.classes) + 1)


def _damaged(e: Evidence, kind: str, what: str, which: Callable[[str], bool]) -> Iterator[Told]:
    names = [name for name in e.survey.names if e.survey[name].kind == kind and which(name)]
    if names:
        problems = "\n".join(e.survey[name].problem for name in names[:SHOWN])
        jpeg = any(e.survey[name].jpeg for name in names) and kind == "value"
        cure = "\nJPEG changes the values of masks: save them as PNG, from the originals." if jpeg else ""
        more = f"\n… and {len(names) - SHOWN} more." if len(names) > SHOWN else ""
        yield names, f"{images(len(names))} {what}:\n{problems}{more}{cure}"


def mismatched(e: Evidence) -> Iterator[Told]:
    fits = {name: seen.alignment for name, seen in zip(e.sound.names, e.sound.looks, strict=True)}
    fits = {name: fit for name, fit in fits.items() if fit == fit}
    if len(fits) < FEWEST:
        return
    values = np.array(list(fits.values()))
    median = float(np.median(values))
    spread = max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(values - median))))
    limit = min(median - e.limits.deviations * spread, median / 2)
    if names := sorted((name for name, fit in fits.items() if fit < limit), key=fits.__getitem__):
        yield (
            names,
            (
                f"{images(len(names))} with masks whose edges do not lie on the image's: {join_names(names)}. "
                "Another image's mask, or a shifted one?"
            ),
        )


def blank(e: Evidence) -> Iterator[Told]:
    if names := [name for name in e.sound.names if e.sound[name].low == e.sound[name].high]:
        yield names, f"{images(len(names))} of a single colour: {join_names(names)}."


def jpeg_masks(e: Evidence) -> Iterator[Told]:
    if names := [name for name in e.survey.names if e.survey[name].jpeg]:
        yield (
            names,
            f"{images(len(names))} with JPEG-compressed masks, which changes labels: {join_names(names)}. Save PNG.",
        )


def one_value(e: Evidence) -> Iterator[Told]:
    alone: dict[int, list[str]] = {}
    for name, seen in zip(e.sound.names, e.sound.looks, strict=True):
        present = np.flatnonzero(seen.pixels)
        if len(present) == 1 and not seen.void:
            alone.setdefault(int(present[0]), []).append(name)
    for index, names in sorted(alone.items()):
        if index or len(names) > e.limits.empty * len(e.sound.names):
            what = f"with masks that are {e.data.classes.names[index]!r} throughout"
            yield names, f"{images(len(names))} {what}: {join_names(names)}."


def void_masks(e: Evidence) -> Iterator[Told]:
    if names := [name for name in e.sound.names if not e.sound[name].pixels.any()]:
        yield names, f"{images(len(names))} with masks without a single label: {join_names(names)}."
