"""Training batches, out of one data set or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator

from segrun.data.augment.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.loader.batches import Stream, TrainingSamples, joined, training_batches
from segrun.data.loader.sample_cache import SampleCache
from segrun.data.scan.scan import survey
from segrun.data.sizing import Sizing
from segrun.device import loader_workers
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.targets import Targets
from segrun.types import Batch


@dataclass(frozen=True)
class TrainBatches:
    """feed(start): the endless stream from batch `start` on. An epoch is the primary data set's; of the others as many
    batches are joined to its."""

    data: Dataset
    auxiliary: Mapping[str, Auxiliary]
    sizing: Sizing
    augment: Augment | None
    settings: TrainerSettings
    seed: int
    device: Accelerator
    memories: dict[str, SampleCache] = field(default_factory=dict)  # of each data set, from its first stream on

    @property
    def several(self) -> bool:
        return bool(others(self.auxiliary))

    def primary(self, start: int) -> Iterator[Batch]:
        """The same without the other data sets."""
        return self._stream(self.data, "mask", self.settings.batch_size, start)

    def __call__(self, start: int) -> Iterator[Batch]:
        streams = [self.primary(start)]
        for name, task in others(self.auxiliary).items():
            streams.append(self._stream(task.dataset, name, task.batch_size, start))
        return map(joined, zip(*streams, strict=True))

    def dry_run(self) -> None:
        """What an augmentation or a task has to say against the images, it says now."""
        sample = self.sizing.sample(self.data.sample(self.data.splits["train"][0]))
        if self.augment is not None:
            with torch.random.fork_rng(devices=[]):
                self.augment(sample, self.sizing.size)
        Targets(self.auxiliary, len(self.data.classes))(sample)

    def notes(self, sizes: Sequence[tuple[int, int]]) -> list[str]:
        """What is to be said of the training images, whose (height, width) these are: how many are kept in memory."""
        budget, image = self._budget(), self.data.image(self.data.splits["train"][0])
        bytes_ = len(image) * image.element_size() + 1  # a pixel, with its label
        fitted = [self.sizing.size if self.sizing.fit in ("resize", "pad") else size for size in sizes]
        needed = sum(height * width * bytes_ for height, width in filter(None, fitted))
        if not budget or needed <= budget:
            return []
        return [
            f"decoded, the training images take {needed / 2**30:.1f} GiB; trainer.cache={self.settings.cache:g} keeps "
            f"{budget / needed:.0%} of them, the others are read again in each pass"
        ]

    def _budget(self) -> int:
        """Bytes for each data set's decoded images."""
        return int(self.settings.cache * 2**30) // (1 + len(others(self.auxiliary)))

    def _stream(self, data: Dataset, source: str, size: int, start: int) -> Iterator[Batch]:
        targets = Targets(self.auxiliary, len(self.data.classes), source)
        names = data.splits["train"]
        if source not in self.memories and (budget := self._budget()):
            self.memories[source] = SampleCache(budget, len(names))
        memory = self.memories.get(source)
        samples = TrainingSamples(data, names, self.sizing, self.augment, self.seed, targets, memory)
        process, processes = self.device.process_index, self.device.num_processes
        order = Stream(len(samples.names), size, self.seed, process, processes, start)
        cuda = self.device.device.type == "cuda"
        return iter(training_batches(samples, order, loader_workers(self.settings.workers, cuda), cuda))


def others(auxiliary: Mapping[str, Auxiliary]) -> dict[str, Auxiliary]:
    """The tasks that bring a data set of their own."""
    return {name: task for name, task in auxiliary.items() if task.dataset is not None}


def check(
    name: str, task: Auxiliary, data: Dataset, sizing: Sizing, sizes: Sequence[tuple[int, int]], processes: int
) -> None:
    """ImageRecord at every training image of another data set. sizes: of the primary's images.

    Raises:
        RequestError: no training images, images of other channels or sizes, or a batch that does not part evenly.
        DataError: files that cannot be read.
    """
    other: Dataset = task.dataset
    other.use(other.splits or {"train": other.names})
    if not other.splits.get("train"):
        raise RequestError(f"auxiliary.{name}.dataset: has no train images.")
    if other.channels != data.channels:
        raise RequestError(
            f"auxiliary.{name}.dataset: images of {other.channels} channels, the primary's have {data.channels}."
        )
    if task.batch_size % processes:
        raise RequestError(f"auxiliary.{name}.batch_size={task.batch_size}: not a multiple of {processes} processes.")
    found = survey(other, other.splits["train"])
    if sizing.size is None and set(found.sizes) != set(sizes):
        raise RequestError(
            f"auxiliary.{name}.dataset: its images have other sizes than the primary's and cannot share a batch. Make "
            "them equal: sizing=crop (or resize) sizing.size=[height,width]."
        )
