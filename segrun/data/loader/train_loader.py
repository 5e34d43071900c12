"""The loader of the training batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from segrun.data.loader.batch_sampler import EndlessBatchSampler, SampleKey
from segrun.data.loader.collate import collate
from segrun.data.loader.processes import LoadedStream, share
from segrun.data.loader.train_dataset import TrainDataset
from segrun.types import Batch


def make_train_loader(
    dataset: TrainDataset, batch_sampler: EndlessBatchSampler, workers: int, pin_memory: bool, timeout: float = 0
) -> LoadedStream[Batch]:
    """The stream of training batches.

    Args:
        dataset: The samples.
        batch_sampler: Their order.
        workers: Number of processes that load; 0 to load in this process.
        pin_memory: Whether to load into pinned memory, for a GPU.
        timeout: Seconds that a process may take for a batch; 0: any number.
    """
    return LoadedStream(partial(_load, dataset), batch_sampler, workers, timeout, pin_memory)


def _load(dataset: TrainDataset, keys: Sequence[SampleKey]) -> Batch:
    batch = collate([dataset[key] for key in keys])
    share((batch.images, *batch.targets.values()))
    return batch
