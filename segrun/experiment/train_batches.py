"""Training batches out of one data set or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from segrun.data.augment.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.collate import concat_batches
from segrun.data.loader.processes import LoadedStream
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.loader.train_loader import make_train_loader
from segrun.data.scan.checks import refuse_mixed_masks
from segrun.data.scan.scan import scan_dataset
from segrun.data.sizing import Sizing
from segrun.device import loader_workers
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.experiment.prepare import PreparedData
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import Batch

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator

PRIMARY = "mask"  # the task of the primary data set


@dataclass(frozen=True)
class TrainBatches:
    """`batches(start)` is the endless stream from batch `start` on.

    An epoch is a pass over the primary data set; as many batches of the other data sets are joined to its batches.

    Attributes:
        auxiliary: Tasks by name; those with a data set of their own bring further images.
        caches: Decoded images of each data set, made with its first stream.
    """

    data: PreparedData
    auxiliary: Mapping[str, Auxiliary]
    sizing: Sizing
    augment: Augment
    settings: TrainerSettings
    seed: int
    accelerator: Accelerator
    caches: dict[str, SampleCache] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether the images come from more than one data set."""
        return bool(with_own_dataset(self.auxiliary))

    def primary(self, start: int) -> LoadedStream[Batch]:
        """The same stream without the other data sets."""
        names = self.data.splits["train"]
        return self._stream(self.data.dataset, names, PRIMARY, self.settings.batch_size, start)

    def __call__(self, start: int) -> JoinedStream:
        streams = [self.primary(start)]
        for name, (dataset, batch_size) in with_own_dataset(self.auxiliary).items():
            streams.append(self._stream(dataset, train_names(dataset), name, batch_size, start))
        return JoinedStream(streams)

    def cache_notes(self) -> list[str]:
        """A note where not all training images fit into the cache."""
        budget = self._cache_budget()
        image = self.data.dataset.image(self.data.splits["train"][0])
        bytes_per_pixel = len(image) * image.element_size() + 1  # the label takes one
        sizes = self.data.train_scan.sizes
        if self.sizing.size is not None and self.sizing.fit in ("resize", "pad"):
            height, width = self.sizing.size
            sizes = ((height, width),) * len(sizes)
        needed = sum(height * width * bytes_per_pixel for height, width in sizes)
        if not budget or needed <= budget:
            return []
        return [
            f"the decoded training images take {needed / 2**30:.1f} GiB; trainer.cache={self.settings.cache:g} holds "
            f"{budget / needed:.0%} of them, the others are read again in each pass"
        ]

    def _cache_budget(self) -> int:
        """Bytes for the decoded images of each data set."""
        return int(self.settings.cache * 2**30) // (1 + len(with_own_dataset(self.auxiliary)))

    def _stream(
        self, data: Dataset, names: Sequence[str], task: str, batch_size: int, start: int
    ) -> LoadedStream[Batch]:
        targets = Targets(self.auxiliary, len(self.data.classes), task)
        budget = self._cache_budget()
        if task not in self.caches and budget:
            self.caches[task] = SampleCache(budget, len(names))
        cache = self.caches.get(task)
        samples = TrainDataset(data, names, self.sizing, self.augment, self.seed, targets, cache)
        index, processes = self.accelerator.process_index, self.accelerator.num_processes
        order = EndlessBatchSampler(len(names), batch_size, self.seed, index, processes, start)
        cuda = self.accelerator.device.type == "cuda"
        return make_train_loader(
            samples, order, loader_workers(self.settings.workers, cuda), cuda, self.settings.timeout
        )


@dataclass(frozen=True)
class JoinedStream(Iterator[Batch]):
    """The batches of several data sets, joined one by one."""

    streams: Sequence[LoadedStream[Batch]]

    def __next__(self) -> Batch:
        return concat_batches([next(stream) for stream in self.streams])

    def close(self) -> None:
        """End the loaders' processes."""
        for stream in self.streams:
            stream.close()


def with_own_dataset(auxiliary: Mapping[str, Auxiliary]) -> dict[str, tuple[Dataset, int]]:
    """The data sets that tasks bring, and how many of their images are in a batch."""
    return {n: (task.dataset, task.batch_size) for n, task in auxiliary.items() if task.dataset is not None}


def train_names(dataset: Dataset) -> Sequence[str]:
    """The images of another data set that are trained on: its train split, or all where it has no splits."""
    return dataset.splits["train"] if dataset.splits else dataset.names


def try_one_sample(data: PreparedData, auxiliary: Mapping[str, Auxiliary], sizing: Sizing, augment: Augment) -> None:
    """Augment one training image and make its targets.

    Raises:
        RequestError: The augmentation or a task cannot work with such images.
    """
    sample = sizing.sample(data.dataset.sample(data.splits["train"][0]))
    with torch.random.fork_rng(devices=[]):
        augment(sample, sizing.size)
    Targets(auxiliary, len(data.classes))(sample)


def check_own_dataset(name: str, other: Dataset, data: PreparedData, sizing: Sizing) -> None:
    """Read every training image of another data set.

    Raises:
        RequestError: It has no training images, or images of other channels or sizes.
        DataError: Files cannot be read.
    """
    other.check()
    if other.splits and not other.splits.get("train"):
        raise RequestError(f"auxiliary.{name}.dataset: has no train images.")
    if other.channels != data.channels:
        raise RequestError(
            f"auxiliary.{name}.dataset: images of {other.channels} channels, the primary's have {data.channels}."
        )
    scan = scan_dataset(other, train_names(other))
    refuse_mixed_masks(other, train_names(other))
    if sizing.size is None and set(scan.sizes) != set(data.train_scan.sizes):
        raise RequestError(
            f"auxiliary.{name}.dataset: its images have other sizes than the primary's and cannot share a batch. Make "
            "them equal: sizing=crop (or resize) sizing.size=[height,width]."
        )
