"""One look at every image and mask before the first step: label mistakes are found now, not in an hour."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segrun.data.dataset import Dataset
from segrun.data.scan.cache import ScanCache
from segrun.data.scan.record import ImageRecord, inspect_sample
from segrun.errors import DataError

Advance = Callable[[int], None]
ImageRecords = list[tuple[str, ImageRecord]]
PATIENCE = 0.3  # seconds until other processes are called in: to start them takes a part of that
CHUNK = 8  # images that such a process looks at before it reports


@dataclass(frozen=True)
class DatasetScan:
    """names: the images looked at; looks: what was seen of each; notes: what the user should know of the looking."""

    names: tuple[str, ...]
    looks: tuple[ImageRecord, ...]
    notes: tuple[str, ...] = ()
    _place: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_place", {name: place for place, name in enumerate(self.names)})

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each."""
        return tuple(seen.size for seen in self.looks)

    @property
    def pixels(self) -> Tensor:
        """(N, classes) labelled pixels."""
        return torch.from_numpy(np.stack([seen.pixels for seen in self.looks]))

    @property
    def digests(self) -> tuple[bytes, ...]:
        """Equal where images are, pixel for pixel."""
        return tuple(seen.digest for seen in self.looks)

    def __getitem__(self, name: str) -> ImageRecord:
        return self.looks[self._place[name]]

    def of(self, names: Sequence[str]) -> DatasetScan:
        return DatasetScan(tuple(names), tuple(self[name] for name in names), self.notes)

    def readable(self) -> DatasetScan:
        """Without images in whose files something is wrong."""
        return self.of([name for name, seen in zip(self.names, self.looks, strict=True) if not seen.problem])


def survey(data: Dataset, names: Sequence[str], advance: Advance = lambda done: None) -> DatasetScan:
    """Look at every image and mask, and refuse what is damaged.

    Raises:
        DataError: with the first few of the files that are unreadable, of different sizes, or hold values
            outside the classes, and how many there are.
    """
    found = scan_all(data, names, advance)
    if problems := [seen.problem for seen in found.looks if seen.problem]:
        more = f"\n… and {len(problems) - 3} more of {len(names)} files." if len(problems) > 3 else ""
        raise DataError("\n".join(problems[:3]) + more)
    if not names:
        raise DataError("the data set holds no image.")
    return found


def scan_all(data: Dataset, names: Sequence[str], advance: Advance = lambda done: None) -> DatasetScan:
    """Look at every image and mask that was not seen before; damage is in the looks. `advance` is told how many are done.

    An interrupted survey keeps what it has seen.
    """
    with ScanCache(data) as seen:
        found = seen.known(names)
        if found:
            advance(len(found))
        todo = [name for name in names if name not in found]
        for name, result in looks(data, todo):
            found[name] = result
            seen.keep(name, result)
            advance(1)
    return DatasetScan(tuple(names), tuple(found[name] for name in names), (seen.note,) if seen.note else ())


def looks(data: Dataset, names: Sequence[str]) -> Iterator[tuple[str, ImageRecord]]:
    """A look at each in turn: here, and by one process a core from the moment that it takes long. Threads would wait
    for each other, as half of a look holds Python's lock. Few looks are in flight: memory stays flat."""
    start, rest = time.monotonic(), names[:0]
    for here, name in enumerate(names, 1):
        yield name, inspect_sample(data, name)
        if time.monotonic() - start > PATIENCE:
            rest = names[here:]
            break
    if not rest:
        return
    own = torch.Generator()  # a loader draws a number when it begins; the training's are not to depend on the clock
    work = partial(_looks, data)
    processes = iter(DataLoader[ImageRecords](rest, CHUNK, collate_fn=work, num_workers=cores(), generator=own))  # type: ignore[arg-type]
    for first in rest[::CHUNK]:
        try:
            found = next(processes)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise DataError(
                f"a process that looked at images died ({error}), perhaps of {first} or one of the "
                f"{cores() * 2 * CHUNK} after it: too large for the memory, or damaged."
            ) from None
        yield from found


def _looks(data: Dataset, names: Sequence[str]) -> ImageRecords:
    return [(name, inspect_sample(data, name)) for name in names]


def cores() -> int:
    """Those that this process may use; containers and schedulers often grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
