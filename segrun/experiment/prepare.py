"""From data settings to prepared data: scanned, split, limited to the labelled subset, and immutable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.data.dataset import Dataset, Splits
from segrun.data.scan.checks import check_before_training
from segrun.data.scan.scan import DatasetScan, scan_dataset
from segrun.data.split.label_subset import label_subset
from segrun.data.split.splits import check_disjoint, check_names_exist, make_splits
from segrun.errors import RequestError, join_names
from segrun.experiment.experiment import DataSettings
from segrun.report.terminal import progress_bar
from segrun.types import ClassMap


@dataclass(frozen=True)
class PreparedData:
    """Everything that a training needs to know of its data.

    Attributes:
        dataset: Knows what was measured on the training images.
        splits: Names by split; "train" is the labelled subset.
        scan: A record per image that was read.
        measured: Settings of the data set that were measured, for the run's config.
        notes: What the user should know.
    """

    dataset: Dataset
    splits: Splits
    scan: DatasetScan
    measured: Mapping[str, Any]
    notes: Sequence[str] = ()

    @property
    def classes(self) -> ClassMap:
        return self.dataset.classes

    @property
    def channels(self) -> int:
        return self.dataset.channels

    @cached_property
    def train_scan(self) -> DatasetScan:
        """The records of the labelled training images."""
        return self.scan.subset(self.splits["train"])

    @cached_property
    def class_counts(self) -> Tensor:
        """(images, classes) labelled pixels of the training images."""
        return self.train_scan.pixel_counts


def prepare(
    settings: DataSettings,
    resume: Checkpoint | None = None,
    one_process_first: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> PreparedData:
    """Open, scan and split the data.

    Args:
        settings: What the config says of it.
        resume: The run to continue: its splits are used.
        one_process_first: Inside this context one process downloads what the others then find.

    Raises:
        RequestError: The settings contradict the data.
        DataError: Files are damaged.
    """
    with one_process_first():
        dataset = open_dataset(settings)
    if dataset.splits and not dataset.splits.get("train"):
        raise RequestError(f"the data set has no train images, only those of {join_names(dataset.splits)}.")
    unread = _unread_test_images(dataset, settings, resume)
    names = [name for name in dataset.names if name not in unread]
    with progress_bar("reading every image and mask", len(names)) as advance:
        scan = scan_dataset(dataset, names, advance)
    if resume is not None:
        check_names_exist(resume.splits, dataset.names)
        splits: Splits = {split: tuple(members) for split, members in resume.splits.items()}
        notes: Sequence[str] = ()
    else:
        splits, notes = _new_splits(dataset, scan, settings, unread)
    fitted, measured = dataset.fit(splits["train"])
    return PreparedData(fitted, splits, scan, measured, (*fitted.notes, *notes))


def _new_splits(
    dataset: Dataset, scan: DatasetScan, settings: DataSettings, unread: frozenset[str]
) -> tuple[Splits, Sequence[str]]:
    """The splits of a new run, with the labelled subset as "train"; and notes.

    Raises:
        DataError: Findings that make every score worthless.
    """
    splits, notes = make_splits(dataset, scan.names, settings.split, scan.pixel_counts > 0, scan.digests)
    read = {split: names for split, names in splits.items() if not (unread and split == "test")}
    findings = check_before_training(dataset, scan, read, settings.rules)
    labelled = label_subset(splits["train"], scan.subset(splits["train"]).pixel_counts, settings.labels, settings.seed)
    settings.sizing.check(scan.subset(labelled).sizes)
    return {**splits, "train": labelled}, [*scan.notes, *notes, *findings]


def open_dataset(settings: DataSettings) -> Dataset:
    """The data set with its files listed.

    Raises:
        RequestError: An official split has an image twice.
        DataError: Files are missing or do not fit each other.
    """
    dataset = settings.dataset()
    dataset.check()
    check_disjoint(dataset.splits)
    return dataset


def _unread_test_images(dataset: Dataset, settings: DataSettings, resume: Checkpoint | None) -> frozenset[str]:
    """The test images where no image of the test split may be read. A split file may name any image as test."""
    if settings.use_test or (resume is None and settings.split.file is not None):
        return frozenset()
    splits = dataset.splits if resume is None else resume.splits
    return frozenset(splits.get("test", ()))
