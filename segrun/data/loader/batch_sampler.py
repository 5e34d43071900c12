"""The order in which training samples form batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from segrun.data.loader.seeds import derive_seed

SampleKey = tuple[int, int]  # (pass over the data, index of the image)


class EndlessBatchSampler(Sampler[list[SampleKey]]):
    """Batches of sample keys without end: one shuffled pass over the data after the other.

    Batch k holds the positions k · batch_size … (k + 1) · batch_size − 1 of the passes in a row. So every batch is
    full, even if there are fewer images than a batch holds.

    Args:
        count: Number of images.
        batch_size: Samples per batch, over all processes.
        seed: Seed of the order.
        rank: Index of this process, which takes its share of every batch.
        world_size: Number of processes.
        start: The first batch, to continue a training.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> None:
        self.count, self.batch_size, self.seed, self.start = count, batch_size, seed, start
        self.share = range(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self._order = functools.lru_cache(maxsize=4)(self._shuffle)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        batch = self.start
        while True:
            yield [self._key(batch * self.batch_size + offset) for offset in self.share]
            batch += 1

    def _key(self, position: int) -> SampleKey:
        pass_index, offset = divmod(position, self.count)
        return pass_index, int(self._order(pass_index)[offset])

    def _shuffle(self, pass_index: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, pass_index))
        return torch.randperm(self.count, generator=generator)
