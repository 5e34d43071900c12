"""The page of `segrun check`: findings with pictures, counts and histograms, and samples of each split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segrun.data.dataset import Dataset, Splits
from segrun.data.scan.findings import Finding
from segrun.data.scan.scan import DatasetScan
from segrun.errors import DataError
from segrun.report.html.page import Bars, Note, Picture, Section, page
from segrun.report.pictures import overlay
from segrun.report.table import Table

BINS = 16  # of the histogram of intensities
SIZES = 12  # most frequent sizes that are shown


@dataclass(frozen=True)
class CheckedData:
    """A data set, the records of all its images, and the splits that a training would use."""

    dataset: Dataset
    scan: DatasetScan
    splits: Splits


def check_page(
    title: str,
    data: CheckedData,
    findings: Sequence[Finding],
    notes: Sequence[str],
    samples: int,
    preview: Sequence[Picture],
) -> str:
    """The HTML of the page.

    Args:
        title: Of the page.
        data: What was checked.
        findings: Errors first.
        notes: Lines that are shown below the numbers.
        samples: Pictures per finding and split.
        preview: Training samples as the network sees them.
    """
    shown = [Note(str(f), f.severity, _pictures(data, f.names, samples)) for f in findings]
    sections = [
        Section(f"findings in {len(data.dataset.names)} images", shown or [Note("nothing")]),
        Section("numbers", [class_table(data), *map(Note, notes), *_histograms(data)]),
    ]
    if preview:
        sections.append(Section("what the network sees of train", preview))
    for split, names in data.splits.items():
        sections.append(Section(split, _pictures(data, _evenly(names, samples), samples)))
    return page(title, sections)


def class_table(data: CheckedData) -> Table:
    """For each class and split, its share of the labelled pixels and the number of images that show it."""
    rows = [[name] for name in data.dataset.classes.names]
    splits = {split: names for split, names in data.splits.items() if names}
    for names in splits.values():
        pixels = data.scan.subset(names).pixel_counts
        shares = 100 * pixels.sum(0) / max(1, int(pixels.sum()))
        for row, share, images in zip(rows, shares.tolist(), (pixels > 0).sum(0).tolist(), strict=True):
            row += [f"{share:.2f}", str(images)]
    head = ["class", *(column for split in splits for column in (f"{split}: % of pixels", "images"))]
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    return Table(f"classes ({counts})", head, rows)


def _histograms(data: CheckedData) -> list[Bars]:
    readable = data.scan.readable()
    if not readable.names:
        return []
    pixels, classes = readable.pixel_counts, data.dataset.classes.names
    records = [record for record in data.scan.records if record.digest]
    sizes = Counter(f"{record.size[1]}×{record.size[0]}" for record in records)
    frequent = sizes.most_common(SIZES)
    others = sizes.total() - sum(count for _, count in frequent)
    if others:
        frequent.append(("others", others))
    counts, edges = np.histogram([record.mean_value for record in records], BINS, (0, 1))
    ranges = [f"{low:.2f} to {high:.2f}" for low, high in itertools.pairwise(edges)]
    return [
        Bars("pixels per class", list(zip(classes, pixels.sum(0).tolist(), strict=True))),
        Bars("images per class", list(zip(classes, (pixels > 0).sum(0).tolist(), strict=True))),
        Bars("images per size (width×height)", frequent),
        Bars("images by mean intensity", list(zip(ranges, counts.tolist(), strict=True))),
    ]


def _pictures(data: CheckedData, names: Sequence[str], count: int) -> list[Picture]:
    pictures = []
    for name in [name for name in names if not data.scan[name].problem][:count]:
        try:
            pictures.append(Picture(name, overlay(data.dataset.sample(name), data.dataset.classes)))
        except DataError as error:  # changed since it was read
            pictures.append(Picture(str(error), np.full((1, 1, 3), 255, np.uint8)))
    return pictures


def _evenly(names: Sequence[str], count: int) -> list[str]:
    """So many names, evenly spread over all."""
    last = len(names) - 1
    indices = {round(i * last / max(1, count - 1)) for i in range(count)} if names else set()
    return [names[index] for index in sorted(indices)]
