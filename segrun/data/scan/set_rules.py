"""The rules that judge a data set as a whole: classes, splits, copies and similar images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segrun.data.dataset import Dataset
from segrun.data.raw_dataset import RawDataset
from segrun.data.scan.evidence import Evidence
from segrun.data.scan.findings import Violation, count_images
from segrun.data.scan.record import STRIDES
from segrun.data.scan.scan import DatasetScan
from segrun.errors import DataError, join_names

DARK = 4095.5 / 65535  # values of 12 bits in 16 end below
MAX_GROUPS = 3  # of images that a finding's text names


def ignored(e: Evidence) -> Iterator[Violation]:
    """Many pixels without a label."""
    void = sum(record.void_pixels for record in e.readable.records)
    share = void / max(1, void + int(e.class_counts[0].sum()))
    if share > e.limits.ignored:
        yield (), f"{share:.0%} of all pixels have no label. Is dataset.ignore_index right?"


def class_absent(e: Evidence) -> Iterator[Violation]:
    """Classes without a pixel in the whole data set."""
    classes = _class_names(e, e.class_counts[0] == 0)
    if e.readable.names and classes:
        yield (), f"classes without a single pixel: {join_names(classes)}."


def not_in_train(e: Evidence) -> Iterator[Violation]:
    """Classes of other splits that train does not show."""
    yield from _missing_in(e, ["train"])


def missing(e: Evidence) -> Iterator[Violation]:
    """Classes that val or test does not show."""
    yield from _missing_in(e, [split for split in e.splits if split != "train"])


def _missing_in(e: Evidence, splits: Sequence[str]) -> Iterator[Violation]:
    for split in splits:
        if split not in e.images_per_class:
            continue
        classes = _class_names(e, (e.images_per_class[split] == 0) & (e.class_counts[0] > 0))
        if classes:
            yield (), f"{split} shows nothing of {join_names(classes)}, which other splits have."


def rare(e: Evidence) -> Iterator[Violation]:
    """Classes in few training images."""
    images = e.images_per_class.get("train")
    if images is None:
        return
    classes = _class_names(e, (images > 0) & (images < e.limits.images))
    if classes:
        yield (), f"classes in fewer than {e.limits.images} training images: {join_names(classes)}."


def copies_between(e: Evidence) -> Iterator[Violation]:
    """Exact copies in several splits."""
    groups = [names for names in e.copies if len(_splits_of(e, names)) > 1]
    yield from _copies(groups, "in several splits as exact copies")


def copies_within(e: Evidence) -> Iterator[Violation]:
    """Exact copies in one split."""
    groups = [names for names in e.copies if len(_splits_of(e, names)) < 2]
    yield from _copies(groups, "with exact copies in the same split")


def contradictory(e: Evidence) -> Iterator[Violation]:
    """Exact copies with different masks."""
    readable = [[name for name in names if not e.scan[name].problem] for names in e.copies]
    groups = [names for names in readable if len({e.scan[name].mask_checksum for name in names}) > 1]
    yield from _copies(groups, "with exact copies that are labelled differently")


def _copies(groups: Sequence[Sequence[str]], description: str) -> Iterator[Violation]:
    if groups:
        names = [name for group in groups for name in group]
        yield names, f"{count_images(len(groups))} {description}: {_join_groups(groups, ' = ')}."


def near_between(e: Evidence) -> Iterator[Violation]:
    """Similar images in two splits."""
    pairs = [pair for pair in e.near if len(_splits_of(e, pair)) > 1]
    cure = " Frames of one video, or tiles of one slide? split.groups keeps them together."
    yield from _near(e, "in two splits", pairs, cure)


def near_within(e: Evidence) -> Iterator[Violation]:
    """Similar images in one split."""
    pairs = [pair for pair in e.near if len(_splits_of(e, pair)) < 2]
    yield from _near(e, "in one split", pairs, "")


def _near(e: Evidence, where: str, pairs: Sequence[tuple[str, str]], cure: str) -> Iterator[Violation]:
    if pairs:
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        or_more = "or more " if len(e.near) == e.limits.pairs else ""
        yield names, f"{len(pairs)} {or_more}pairs of images {where} look alike: {_join_groups(pairs, ' ~ ')}.{cure}"


def tiny(e: Evidence) -> Iterator[Violation]:
    """Classes whose regions are too small for the model's output stride."""
    pixels, kept = e.class_counts[0], e.class_counts[1 + STRIDES.index(e.limits.stride)]
    share = kept / np.maximum(1, pixels)
    for index in np.flatnonzero((pixels > 0) & (share < e.limits.kept)):
        yield (
            (),
            f"{e.data.classes.names[index]!r}: at output stride {e.limits.stride}, with one class per cell, "
            f"{share[index]:.0%} of its pixels remain. A finer stride or larger images would keep more.",
        )


def mixed_masks(e: Evidence) -> Iterator[Violation]:
    """Masks of 0 and 1 beside masks of 0 and 255."""
    yield from find_mixed_masks(e.data, e.readable)


def find_mixed_masks(data: Dataset, scan: DatasetScan) -> Iterator[Violation]:
    """Masks of 0 and 1 beside masks of 0 and 255, unless a mask holds all three: then 255 means "no label"."""
    if not data.guessed_index or len(data.classes) != 2:
        return
    ones, voids = [], []
    for name, record in zip(scan.names, scan.records, strict=True):
        if record.pixel_counts[1] and record.void_pixels:
            return
        if record.pixel_counts[1]:
            ones.append(name)
        elif record.void_pixels:
            voids.append(name)
    if ones and voids:
        yield (
            voids,
            f"{len(voids)} masks hold 0 and 255 ({voids[0]}), {len(ones)} hold 0 and 1 ({ones[0]}). Save all of them "
            "in one way, or set dataset.masks=index if 255 means 'no label'.",
        )


def dark(e: Evidence) -> Iterator[Violation]:
    """Images of 12 bits that are stored as 16, and others that use as little of their range."""
    records = e.readable.records
    if isinstance(e.data, RawDataset) or not records or all(record.is_blank for record in records):
        return
    largest = max(record.max_value for record in records)
    if largest < DARK:
        wide = any(record.mode.endswith("more than 8 bits") for record in records)
        full = 65535 if wide else 255
        yield (
            (),
            f"no image has a value above {largest * full:.0f} of {full}: the network sees them almost black. If they "
            "hold 12 bits in 16, dataset=microscopy scales them (TIFF, or grey PNG), or multiply them by 16.",
        )


def modes(e: Evidence) -> Iterator[Violation]:
    """Grey and colour images, or images of different depths."""
    counts = Counter(record.mode for record in e.scan.records if record.mode)
    if len(counts) > 1:
        yield (), f"images of several kinds: {', '.join(f'{count} {mode}' for mode, count in counts.most_common())}."


def sizes(e: Evidence) -> Iterator[Violation]:
    """What `sizing` would refuse: mixed sizes in train, images larger than the size they are padded to."""
    if e.sizing is None:
        return
    try:
        e.sizing.check([e.scan[name].size for name in e.splits.get("train", ())])
    except DataError as error:
        yield (), str(error)
    if e.sizing.fit == "pad" and e.sizing.size is not None:
        max_height, max_width = e.sizing.size
        names = [
            name
            for name, (height, width) in zip(e.readable.names, e.readable.sizes, strict=True)
            if height > max_height or width > max_width
        ]
        if names:
            yield (
                names,
                f"{count_images(len(names))} larger than the sizing.size they are padded to: {join_names(names)}.",
            )


def _class_names(e: Evidence, chosen: NDArray[np.bool_]) -> list[str]:
    return [e.data.classes.names[index] for index in np.flatnonzero(chosen)]


def _splits_of(e: Evidence, names: Sequence[str]) -> set[str]:
    return {e.split_of[name] for name in names if name in e.split_of}


def _join_groups(groups: Sequence[Sequence[str]], sign: str) -> str:
    return join_names((sign.join(names) for names in groups), MAX_GROUPS)
