"""From a data set to batches. What a sample looks like is a function of (seed, pass, index) alone:
worker count, order of arrival, process count and resuming cannot change it."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from segrun.data.augment.augment import Augment
from segrun.data.augment.mixing import alike
from segrun.data.dataset import Dataset
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.sizing import Sizing
from segrun.errors import RequestError, join_names
from segrun.types import Batch, Example, Sample

Key = tuple[int, int]  # (pass over the data, index)


Targets = Callable[[Sample], Mapping[str, torch.Tensor]]


class TrainingSamples(TorchDataset[Any]):
    """Fitted and augmented samples by (pass, index). targets: what of each is to be learnt; memory: where decoded and
    fitted samples are kept."""

    def __init__(
        self,
        data: Dataset,
        names: Sequence[str],
        sizing: Sizing,
        augment: Augment | None,
        seed: int,
        targets: Targets,
        memory: SampleCache | None = None,
    ) -> None:
        self.data, self.names, self.sizing, self.augment, self.seed = data, tuple(names), sizing, augment, seed
        self.targets, self.memory = targets, memory

    def __getitem__(self, key: Key) -> Example:
        sample = self.sample(key)
        return Example(sample.name, sample.image, self.targets(sample))

    def sample(self, key: Key) -> Sample:
        round_, index = key
        if self.augment is None and self.sizing.fit != "crop":
            return self._fitted(index)
        augment = self.augment or _PLAIN
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which seeds every kind of accelerator, too, and takes half a millisecond for it
            torch.default_generator.manual_seed(derive_seed(self.seed, round_, index))
            sample = augment(self._fitted(index), self.sizing.size)
            return augment.mixing(
                sample, lambda: augment(self._fitted(int(torch.randint(len(self.names), ()))), sample.mask.shape)
            )

    def _fitted(self, index: int) -> Sample:
        name = self.names[index]
        if self.memory is not None and (kept := self.memory.get(index)):
            return Sample(name, *kept)
        with torch.random.fork_rng(devices=[]):  # reading shall not count: what is kept is not read
            sample = self.sizing.sample(self.data.sample(name))
        if self.memory is not None:
            self.memory.put(index, sample.image, sample.mask)
        return sample


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
        generator = torch.Generator().manual_seed(derive_seed(self.seed, round_))
        return torch.randperm(self.count, generator=generator)


def training_batches(samples: TrainingSamples, stream: Stream, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        samples, batch_sampler=stream, num_workers=workers, collate_fn=collate, pin_memory=pin, worker_init_fn=_outlive
    )


def _outlive(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the main one still needs its batch to end the step and save."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def collate(examples: Sequence[Example]) -> Batch:
    targets = {task: torch.stack([e.targets[task] for e in examples]) for task in examples[0].targets}
    return Batch(tuple(e.name for e in examples), torch.stack(alike([e.image for e in examples])), targets)


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch out of those of several data sets.

    Raises:
        RequestError: their images differ in size.
    """
    if len(batches) == 1:
        return batches[0]
    if len(sizes := {tuple(batch.images.shape[-2:]) for batch in batches}) > 1:
        shown = join_names(f"{width}×{height}" for height, width in sorted(sizes))
        raise RequestError(
            f"the data sets' images differ in size ({shown}) and cannot share a batch. Make them equal: "
            "sizing=crop (or resize) sizing.size=[height,width]."
        )
    names = tuple(name for batch in batches for name in batch.names)
    targets = {task: torch.cat([batch.targets[task] for batch in batches]) for task in batches[0].targets}
    return Batch(names, torch.cat(alike([batch.images for batch in batches])), targets)


def derive_seed(*numbers: int) -> int:
    """One seed out of several numbers, well spread (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


_PLAIN = Augment(scale=(1, 1), stretch=1, hflip=0, vflip=0, rotate90=False, colour=0, blur=0)
