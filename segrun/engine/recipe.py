"""What a training is made of, beside the model and its plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from segrun.checkpoints.checkpoint import Progress
from segrun.checkpoints.snapshots import Snapshots
from segrun.engine.optimizers import OptimizerFactory
from segrun.engine.schedules import Schedule
from segrun.engine.settings import TrainerSettings
from segrun.inference.evaluation import Evaluation
from segrun.tasks.balance import Balance
from segrun.transfer.plan import Plan
from segrun.types import Batch


@dataclass(frozen=True)
class TrainRecipe:
    """What is tuned, beside the plan. balance: begun, for the tasks at hand."""

    settings: TrainerSettings
    optimizer: OptimizerFactory
    schedule: Schedule
    seed: int
    balance: Balance

    def lr(self, step: int, start: int, total: int, segment: int = 0) -> float:
        """The base rate at a step of the run, for a curve of `total` steps that began at `start`."""
        return self.optimizer.lr * self.schedule.of(segment)(step - start, total)


@dataclass(frozen=True)
class EpochData:
    """batches(start): the endless stream from batch `start` on; steps: optimizer steps of each epoch;
    evaluate: score val."""

    batches: Callable[[int], Iterator[Batch]]
    steps: Sequence[int]
    evaluate: Callable[[nn.Module], Evaluation]


@dataclass(frozen=True)
class CheckpointSink:
    """Where states go. last(weights, training) after each epoch; best(model, progress) after a best one; snapshots:
    weights that terms and candidates go back to."""

    last: Callable[[Mapping[str, Tensor], Mapping[str, Any]], None]
    best: Callable[[nn.Module, Progress], None]
    snapshots: Snapshots = field(default_factory=Snapshots)


def curves(plan: Plan, ends: Sequence[int]) -> list[tuple[int, int, int]]:
    """For every epoch, the step its learning-rate curve began at, the steps the curve spans, and which curve it is."""
    starts: list[int] = []
    epoch = 0
    for phase in plan.phases:
        if phase.schedule == "restart" or not starts:
            starts.append(epoch)
        epoch += phase.epochs
    bounds = [*starts, epoch]
    return [
        (ends[start], ends[end] - ends[start], segment)
        for segment, (start, end) in enumerate(itertools.pairwise(bounds))
        for _ in range(start, end)
    ]
