"""Training batches, out of one data set or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from accelerate import Accelerator

from segrun.data.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.loading import Stream, TrainingSamples, joined, training_batches
from segrun.data.sizing import Sizing
from segrun.data.survey import survey
from segrun.engine.device import loader_workers
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.tasks.auxiliary import Auxiliary
from segrun.tasks.targets import Targets
from segrun.types import Batch


@dataclass(frozen=True)
class Feed:
    """feed(start): the endless stream from batch `start` on. An epoch is the primary data set's; of the others as many
    batches are joined to its."""

    data: Dataset
    auxiliary: Mapping[str, Auxiliary]
    sizing: Sizing
    augment: Augment | None
    settings: TrainerSettings
    seed: int
    device: Accelerator

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

    def _stream(self, data: Dataset, source: str, size: int, start: int) -> Iterator[Batch]:
        targets = Targets(self.auxiliary, len(self.data.classes), source)
        samples = TrainingSamples(data, data.splits["train"], self.sizing, self.augment, self.seed, targets)
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
    """Look at every training image of another data set. sizes: of the primary's images.

    Raises:
        RequestError: no training images, images of other channels or sizes, or a batch that does not part evenly.
        DataError: files that cannot be read.
    """
    other: Dataset = task.dataset
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
