"""The rules that judge a data set as a whole: its classes, its splits, what is alike in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segrun.data.scan.findings import Evidence, Told, images
from segrun.data.scan.record import STRIDES
from segrun.errors import DataError, join_names

SHOWN = 3  # groups and pairs of images that a finding's text names


def ignored(e: Evidence) -> Iterator[Told]:
    void = sum(seen.void for seen in e.sound.looks)
    share = void / max(1, void + int(e.counts[0].sum()))
    if share > e.limits.ignored:
        yield (), f"{share:.0%} of all pixels have no label. Is dataset.ignore_index right?"


def class_absent(e: Evidence) -> Iterator[Told]:
    if e.sound.names and (classes := _classes(e, e.counts[0] == 0)):
        yield (), f"classes without a single pixel: {join_names(classes)}."


def not_in_train(e: Evidence) -> Iterator[Told]:
    yield from _not_in(e, ["train"])


def missing(e: Evidence) -> Iterator[Told]:
    yield from _not_in(e, [split for split in e.splits if split != "train"])


def _not_in(e: Evidence, splits: Sequence[str]) -> Iterator[Told]:
    for split in splits:
        if split in e.images and (classes := _classes(e, (e.images[split] == 0) & (e.counts[0] > 0))):
            yield (), f"{split} shows nothing of {join_names(classes)}, which other splits have."


def rare(e: Evidence) -> Iterator[Told]:
    there = e.images.get("train")
    if there is not None and (classes := _classes(e, (there > 0) & (there < e.limits.images))):
        yield (), f"classes in fewer than {e.limits.images} training images: {join_names(classes)}."


def copies_between(e: Evidence) -> Iterator[Told]:
    groups = [names for names in e.copies if len(_splits(e, names)) > 1]
    if groups:
        names = [name for group in groups for name in group]
        yield names, f"{images(len(groups))} in several splits as exact copies: {_groups(groups, ' = ')}."


def copies_within(e: Evidence) -> Iterator[Told]:
    groups = [names for names in e.copies if len(_splits(e, names)) < 2]
    if groups:
        names = [name for group in groups for name in group]
        yield names, f"{images(len(groups))} with exact copies in the same split: {_groups(groups, ' = ')}."


def contradictory(e: Evidence) -> Iterator[Told]:
    readable = ([name for name in names if not e.survey[name].problem] for names in e.copies)
    if groups := [names for names in readable if len({e.survey[name].labels for name in names}) > 1]:
        names = [name for group in groups for name in group]
        yield names, f"{images(len(groups))} with exact copies that are labelled otherwise: {_groups(groups, ' = ')}."


def near_between(e: Evidence) -> Iterator[Told]:
    cure = " Frames of one film, cuts of one slide? split.groups keeps such together."
    yield from _near(e, "in two splits", [pair for pair in e.near if len(_splits(e, pair)) > 1], cure)


def near_within(e: Evidence) -> Iterator[Told]:
    yield from _near(e, "in one split", [pair for pair in e.near if len(_splits(e, pair)) < 2], "")


def _near(e: Evidence, where: str, pairs: Sequence[tuple[str, str]], cure: str) -> Iterator[Told]:
    if pairs:
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        many = "or more " if len(e.near) == e.limits.pairs else ""
        yield names, f"{len(pairs)} {many}pairs of images {where} look alike: {_groups(pairs, ' ~ ')}.{cure}"


def tiny(e: Evidence) -> Iterator[Told]:
    pixels, kept = e.counts[0], e.counts[1 + STRIDES.index(e.limits.stride)]
    share = kept / np.maximum(1, pixels)
    for index in np.flatnonzero((pixels > 0) & (share < e.limits.kept)):
        yield (
            (),
            (
                f"{e.data.classes.names[index]!r}: at output stride {e.limits.stride}, one class a cell, "
                f"{share[index]:.0%} of its pixels are left. A finer stride or larger images would keep more."
            ),
        )


def modes(e: Evidence) -> Iterator[Told]:
    found = Counter(seen.mode for seen in e.survey.looks if seen.mode)
    if len(found) > 1:
        yield (), f"images of several kinds: {', '.join(f'{count} {mode}' for mode, count in found.most_common())}."


def sizes(e: Evidence) -> Iterator[Told]:
    """What `sizing` would refuse: mixed sizes in train, images larger than what they are padded to."""
    if e.sizing is None:
        return
    try:
        e.sizing.check([e.survey[name].size for name in e.splits.get("train", ())])
    except DataError as error:
        yield (), str(error)
    if e.sizing.fit == "pad" and e.sizing.size is not None:
        height, width = e.sizing.size
        found = zip(e.sound.names, e.sound.sizes, strict=True)
        if names := [name for name, (h, w) in found if h > height or w > width]:
            yield names, f"{images(len(names))} larger than the sizing.size they are padded to: {join_names(names)}."


def _classes(e: Evidence, which: NDArray[np.bool_]) -> list[str]:
    return [e.data.classes.names[index] for index in np.flatnonzero(which)]


def _splits(e: Evidence, names: Sequence[str]) -> set[str]:
    return {e.split_of[name] for name in names if name in e.split_of}


def _groups(groups: Sequence[Sequence[str]], sign: str) -> str:
    return join_names((sign.join(names) for names in groups), SHOWN)
