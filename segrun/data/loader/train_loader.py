"""The loader of the training batches."""

from __future__ import annotations

import signal

from torch.utils.data import DataLoader

from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.collate import collate
from segrun.data.loader.train_dataset import TrainDataset
from segrun.types import Batch


def make_train_loader(
    dataset: TrainDataset, batch_sampler: EndlessBatchSampler, workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """A loader of training batches.

    Args:
        dataset: The samples.
        batch_sampler: Their order.
        workers: Number of processes that load; 0 to load in this process.
        pin_memory: Whether to load into pinned memory, for a GPU.
    """
    return DataLoader(
        dataset,
        batch_sampler=batch_sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_ignore_signals,
    )


def _ignore_signals(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal, but the main one still needs its batch to end the step and save."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
