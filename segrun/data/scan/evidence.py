"""What the rules judge by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segrun.data.dataset import Dataset, Splits
from segrun.data.scan.hashing import near_pairs
from segrun.data.scan.record import STRIDES, Counts
from segrun.data.scan.scan import DatasetScan
from segrun.data.scan.settings import Limits
from segrun.data.sizing import Sizing


@dataclass(frozen=True)
class Evidence:
    """A data set with its records, and what several rules derive from them.

    Attributes:
        data: The data set.
        scan: Records of all images, including damaged ones.
        splits: The images that can be read, by split.
        limits: See `Limits`.
        sizing: How the images reach the network; None: not checked.
    """

    data: Dataset
    scan: DatasetScan
    splits: Splits
    limits: Limits
    sizing: Sizing | None = None

    @cached_property
    def readable(self) -> DatasetScan:
        """Records of the images that can be read."""
        return self.scan.readable()

    @cached_property
    def split_of(self) -> Mapping[str, str]:
        """The split by image."""
        return {name: split for split, names in self.splits.items() for name in names}

    @cached_property
    def class_counts(self) -> Counts:
        """(1 + strides, classes), summed over the images; see `ImageRecord.class_counts`."""
        zero = np.zeros((1 + len(STRIDES), len(self.data.classes)), np.int64)
        return sum((record.class_counts for record in self.readable.records), start=zero)

    @cached_property
    def images_per_class(self) -> dict[str, Counts]:
        """(classes,) number of images that show each class, by split."""
        counts = {}
        for split, names in self.splits.items():
            if names:
                present = self.scan.subset(names).pixel_counts > 0
                counts[split] = present.sum(0).numpy()
        return counts

    @cached_property
    def copies(self) -> list[list[str]]:
        """Groups of images that are identical pixel for pixel."""
        by_digest: defaultdict[bytes, list[str]] = defaultdict(list)
        for name, record in zip(self.scan.names, self.scan.records, strict=True):
            if record.digest:
                by_digest[record.digest].append(name)
        return [names for names in by_digest.values() if len(names) > 1]

    @cached_property
    def near(self) -> list[tuple[str, str]]:
        """Pairs of images that look alike without being copies, the most similar first.

        Blank images are left out, since their hash says nothing.
        """
        distinct = {
            record.digest: name
            for name, record in zip(self.scan.names, self.scan.records, strict=True)
            if not record.is_blank
        }
        names = sorted(distinct.values())
        hashes = np.array([self.scan[name].perceptual_hash for name in names], np.uint64)
        pairs = near_pairs(hashes, self.limits.distance, self.limits.pairs)
        return [(names[first], names[second]) for first, second in pairs.tolist()]
