"""What `segrun check` may find, how grave each is, and what the rules look at."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segrun.data.dataset import Dataset, Splits
from segrun.data.scan.hashing import near_pairs
from segrun.data.scan.record import STRIDES, Counts
from segrun.data.scan.scan import DatasetScan
from segrun.data.sizing import Sizing
from segrun.errors import RequestError, join_names

SEVERITIES = ("error", "warn", "off")
Told = tuple[Sequence[str], str]  # the images it is about, and what is wrong


@dataclass(frozen=True)
class Finding:
    """rule: its name in `Rules`; severity: "error" or "warn"; names: the images it is about, none where it is about the
    whole data set."""

    rule: str
    severity: str
    names: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.text} [{self.rule}]"


@dataclass  # OmegaConf takes a frozen one inside another for read-only, and refuses to fill it
class Limits:
    """See conf/rules/default.yaml."""

    ignored: float
    empty: float
    images: int
    distance: int
    pairs: int
    stride: int
    kept: float
    deviations: float

    def __post_init__(self) -> None:
        if self.stride not in STRIDES:
            raise RequestError(f"rules.limits.stride={self.stride}: choose {join_names(STRIDES)}.")
        if not 0 <= self.distance <= 15 or self.pairs < 1:
            raise RequestError(
                f"rules.limits.distance={self.distance} pairs={self.pairs}: 0 to 15 bits, one pair or more."
            )


@dataclass(frozen=True)
class Rules:
    """The severity of each rule; see conf/rules/default.yaml."""

    pairs: str
    unreadable: str
    size: str
    value: str
    swapped: str
    mismatched: str
    blank: str
    jpeg_masks: str
    one_value: str
    void_masks: str
    ignored: str
    class_absent: str
    not_in_train: str
    missing: str
    rare: str
    copies_between: str
    copies_within: str
    contradictory: str
    near_between: str
    near_within: str
    tiny: str
    modes: str
    sizes: str
    split: str
    limits: Limits

    def __post_init__(self) -> None:
        for rule, severity in self.severities.items():
            if severity not in SEVERITIES:
                raise RequestError(f"rules.{rule}={severity}: choose error, warn or off (in YAML with its quotes).")

    @cached_property
    def severities(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "limits"}


@dataclass(frozen=True)
class Evidence:
    """What a rule judges by. survey: of all images, the damaged too; splits: of those that can be read; sizing: how the
    images are to reach the network, where that is to be judged."""

    data: Dataset
    survey: DatasetScan
    splits: Splits
    limits: Limits
    sizing: Sizing | None = None

    @cached_property
    def sound(self) -> DatasetScan:
        return self.survey.readable()

    @cached_property
    def split_of(self) -> Mapping[str, str]:
        return {name: split for split, names in self.splits.items() for name in names}

    @cached_property
    def counts(self) -> Counts:
        """(1 + strides, classes), summed over the images; see `ImageRecord.counts`."""
        zero = np.zeros((1 + len(STRIDES), len(self.data.classes)), np.int64)
        return sum((seen.counts for seen in self.sound.looks), start=zero)

    @cached_property
    def images(self) -> dict[str, Counts]:
        """By split: (classes,) how many of its images show each class."""
        shown = {split: self.survey.of(names).pixels > 0 for split, names in self.splits.items() if names}
        return {split: table.sum(0).numpy() for split, table in shown.items()}

    @cached_property
    def copies(self) -> list[list[str]]:
        """Images that are equal, pixel for pixel."""
        alike: defaultdict[bytes, list[str]] = defaultdict(list)
        for name, seen in zip(self.survey.names, self.survey.looks, strict=True):
            if seen.digest:
                alike[seen.digest].append(name)
        return [names for names in alike.values() if len(names) > 1]

    @cached_property
    def near(self) -> list[tuple[str, str]]:
        """Pairs of images that look alike and are no copies, the nearest first; blank ones look like all others."""
        first = {seen.digest: name for name, seen in zip(self.survey.names, self.survey.looks, strict=True)
                 if seen.low < seen.high}  # fmt: skip
        names = sorted(first.values())
        hashes = np.array([self.survey[name].alike for name in names], np.uint64)
        pairs = near_pairs(hashes, self.limits.distance, self.limits.pairs)
        return [(names[i], names[j]) for i, j in pairs.tolist()]


def images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
