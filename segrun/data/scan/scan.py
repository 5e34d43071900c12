"""One pass over all images and masks before training, so that mistakes in the labels are found at once."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from segrun.data.dataset import MAX_PROBLEMS, Dataset
from segrun.data.loader.processes import LoadedStream
from segrun.data.scan.cache import ScanCache
from segrun.data.scan.inspect_sample import inspect_sample
from segrun.data.scan.record import ImageRecord
from segrun.errors import DataError, ResourceError

Advance = Callable[[int], None]  # takes the number of images that were just scanned
NamedRecord = tuple[str, ImageRecord]
SINGLE_PROCESS_SECONDS = 0.3  # before other processes are started, which takes a part of that
CHUNK = 8  # images that such a process inspects at a time


@dataclass(frozen=True)
class DatasetScan:
    """The records of some images.

    Attributes:
        names: The images.
        records: One per image.
        notes: What the user should know about the scan.
    """

    names: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, ImageRecord]:
        return dict(zip(self.names, self.records, strict=True))

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each image."""
        return tuple(record.size for record in self.records)

    @property
    def pixel_counts(self) -> Tensor:
        """(N, classes) labelled pixels."""
        return torch.from_numpy(np.stack([record.pixel_counts for record in self.records]))

    @property
    def digests(self) -> tuple[bytes, ...]:
        """One per image; equal for images that are identical pixel for pixel."""
        return tuple(record.digest for record in self.records)

    def __getitem__(self, name: str) -> ImageRecord:
        return self._by_name[name]

    def subset(self, names: Sequence[str]) -> DatasetScan:
        """The records of these images, in this order."""
        return DatasetScan(tuple(names), tuple(self[name] for name in names), self.notes)

    def readable(self) -> DatasetScan:
        """The records without those of damaged files."""
        return self.subset([name for name in self.names if not self[name].problem])


def scan_dataset(data: Dataset, names: Sequence[str], advance: Advance = lambda done: None) -> DatasetScan:
    """Inspect images and masks, and refuse damaged ones.

    Args:
        data: The data set.
        names: The images to inspect.
        advance: Called with the number of images whenever some are done.

    Raises:
        DataError: There is no image, or files are unreadable, differ in size, or hold values that are no class. The
            message names the first of them and their number.
    """
    scan = scan_all(data, names, advance)
    problems = [record.problem for record in scan.records if record.problem]
    if problems:
        more = len(problems) - MAX_PROBLEMS
        text = "\n".join(problems[:MAX_PROBLEMS])
        raise DataError(f"{text}\n… and {more} more of {len(names)} files." if more > 0 else text)
    if not names:
        raise DataError("the data set holds no image.")
    return scan


def scan_all(data: Dataset, names: Sequence[str], advance: Advance = lambda done: None) -> DatasetScan:
    """Inspect images and masks; damage is noted in the records.

    Records of earlier scans are used again if the files have not changed. An interrupted scan keeps what it has.

    Args:
        data: The data set.
        names: The images to inspect.
        advance: Called with the number of images whenever some are done.
    """
    with ScanCache(data) as cache:
        records = cache.load(names)
        if records:
            advance(len(records))
        remaining = [name for name in names if name not in records]
        with contextlib.closing(inspect_samples(data, remaining)) as inspected:
            for name, record in inspected:
                records[name] = record
                cache.store(name, record)
                advance(1)
    notes = (cache.note,) if cache.note else ()
    return DatasetScan(tuple(names), tuple(records[name] for name in names), notes)


def inspect_samples(data: Dataset, names: Sequence[str]) -> Generator[NamedRecord, None, None]:
    """Inspect images in turn: in this process, and on all cores as soon as it takes long.

    Processes instead of threads, since half of the work holds Python's lock. Only a few images are in flight, so that
    memory stays constant.

    Raises:
        DataError: A process died.
    """
    start = time.monotonic()
    for count, name in enumerate(names, 1):
        yield name, inspect_sample(data, name)
        if time.monotonic() - start > SINGLE_PROCESS_SECONDS:
            yield from _inspect_in_processes(data, names[count:])
            return


def _inspect_in_processes(data: Dataset, names: Sequence[str]) -> Generator[NamedRecord, None, None]:
    if not names:
        return
    # A loader draws a number when it starts. From a generator of its own, so that the random state of the training
    # does not depend on the time that the scan takes.
    generator = torch.Generator()
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    scanned = LoadedStream(partial(_inspect_chunk, data), chunks, available_cores(), generator=generator)
    with contextlib.closing(scanned):
        for chunk in chunks:
            try:
                records = next(scanned)
            except ResourceError as error:
                raise DataError(
                    f"a process that reads images died ({error.__cause__}), perhaps because of {chunk[0]} or one of "
                    f"the {available_cores() * 2 * CHUNK} images after it: too large for the memory, or damaged."
                ) from None
            yield from records


def _inspect_chunk(data: Dataset, names: Sequence[str]) -> list[NamedRecord]:
    return [(name, inspect_sample(data, name)) for name in names]


def available_cores() -> int:
    """The cores that this process may use: containers and schedulers often grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
