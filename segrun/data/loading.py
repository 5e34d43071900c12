"""From a data set to batches. What a sample looks like is a function of (seed, pass, index) alone:
worker count, order of arrival, process count and resuming cannot change it."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from segrun.data.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.sizing import Sizing
from segrun.types import Batch, Sample

Key = tuple[int, int]  # (pass over the data, index)


class TrainingSamples(TorchDataset[Any]):
    """Fitted and augmented samples by (pass, index)."""

    def __init__(self, data: Dataset, names: Sequence[str], sizing: Sizing, augment: Augment | None, seed: int) -> None:
        self.data, self.names, self.sizing, self.augment, self.seed = data, tuple(names), sizing, augment, seed

    def __getitem__(self, key: Key) -> Sample:
        round_, index = key
        sample = self.sizing.sample(self.data.sample(self.names[index]))
        if self.augment is None and self.sizing.fit != "crop":
            return sample
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(self.seed, round_, index))
            return (self.augment or _PLAIN)(sample, self.sizing.size)


class Stream(Sampler[list[Key]]):
    """Batches of keys without end: one shuffled pass over the data after the other.

    Batch k holds positions k·batch … (k+1)·batch − 1 of the stream, so that every batch is full, also where
    there are fewer images than a batch holds. With several processes each takes its share of every batch.
    """

    def __init__(self, count: int, batch: int, seed: int, rank: int = 0, world: int = 1, start: int = 0) -> None:
        self.count, self.batch, self.seed, self.start = count, batch, seed, start
        self.share = range(rank * batch // world, (rank + 1) * batch // world)
        self._order = functools.lru_cache(maxsize=4)(self._shuffled)

    def __iter__(self) -> Iterator[list[Key]]:
        k = self.start
        while True:
            yield [self._key(k * self.batch + place) for place in self.share]
            k += 1

    def _key(self, position: int) -> Key:
        round_, place = divmod(position, self.count)
        return round_, int(self._order(round_)[place])

    def _shuffled(self, round_: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(mixed(self.seed, round_))
        return torch.randperm(self.count, generator=generator)


def training_batches(samples: TrainingSamples, stream: Stream, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        samples, batch_sampler=stream, num_workers=workers, collate_fn=collate, pin_memory=pin, worker_init_fn=_outlive
    )


def _outlive(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the main one still needs its batch to end the step and save."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def collate(samples: Sequence[Sample]) -> Batch:
    images = [s.image for s in samples]
    if len({image.dtype for image in images}) > 1:  # 8-bit beside 16-bit files
        images = [as_float(image) for image in images]
    return Batch(tuple(s.name for s in samples), torch.stack(images), {"mask": torch.stack([s.mask for s in samples])})


def as_float(image: torch.Tensor) -> torch.Tensor:
    return image.float() / 255 if image.dtype == torch.uint8 else image


def mixed(*numbers: int) -> int:
    """One seed out of several numbers, well spread (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


_PLAIN = Augment(scale=(1, 1), stretch=1, hflip=0, vflip=0, rotate90=False, colour=0, blur=0)
