"""What a training consists of besides the model and its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from segrun.checkpoints.snapshots import Snapshots
from segrun.engine.optimizers import OptimizerFactory
from segrun.engine.progress import Progress
from segrun.engine.schedules import Schedule
from segrun.engine.settings import TrainerSettings
from segrun.inference.evaluation import Evaluation
from segrun.tasks.balance.balance import Balance
from segrun.transfer.plan import Plan
from segrun.types import Batch


@dataclass(frozen=True)
class Segment:
    """The steps that one learning-rate curve spans: all of a run, or the phases from one restart to the next.

    Attributes:
        index: Position among the curves, from 0.
        start: First step.
        steps: Number of steps.
    """

    index: int
    start: int
    steps: int


@dataclass(frozen=True)
class TrainRecipe:
    """How a model is trained.

    Attributes:
        settings: The trainer's settings.
        optimizer: Builds the optimizer of each phase.
        schedule: Learning-rate schedule.
        seed: Seed of the run.
        balance: Combines the tasks' losses; `Balance.start` has been called.
    """

    settings: TrainerSettings
    optimizer: OptimizerFactory
    schedule: Schedule
    seed: int
    balance: Balance

    def lr(self, step: int, segment: Segment) -> float:
        """The base learning rate at a step of the run."""
        return self.optimizer.lr * self.schedule.of(segment.index)(step - segment.start, segment.steps)


class BatchStream(Iterator[Batch], Protocol):
    """Batches, and a way to end the processes that load them."""

    def close(self) -> object: ...


@dataclass(frozen=True)
class EpochData:
    """Where batches and evaluations come from.

    Attributes:
        batches: Opens the endless stream of training batches at a given batch; `close` ends the stream's processes.
        steps: Number of optimizer steps of each epoch.
        evaluate: Evaluates a model on val.
    """

    batches: Callable[[int], BatchStream]
    steps: Sequence[int]
    evaluate: Callable[[nn.Module], Evaluation]


@dataclass(frozen=True)
class CheckpointSink:
    """Where the states of a training are stored.

    Attributes:
        save_last: Takes the weights and the training state after each epoch.
        save_best: Takes the model and the progress after each epoch that is the best so far.
        snapshots: Weights that the run returns to.
    """

    save_last: Callable[[Mapping[str, Tensor], Mapping[str, Any]], None]
    save_best: Callable[[nn.Module, Progress], None]
    snapshots: Snapshots = field(default_factory=Snapshots)


def epoch_segments(plan: Plan, steps: Sequence[int]) -> list[Segment]:
    """The learning-rate curve of each epoch.

    Args:
        plan: Its phases say where the schedule restarts.
        steps: Number of optimizer steps of each epoch.
    """
    segments: list[Segment] = []
    for first_epoch, end_epoch in _segment_bounds(plan):
        start = sum(steps[:first_epoch])
        index = segments[-1].index + 1 if segments else 0
        segment = Segment(index, start, sum(steps[first_epoch:end_epoch]))
        segments.extend([segment] * (end_epoch - first_epoch))
    return segments


def _segment_bounds(plan: Plan) -> list[tuple[int, int]]:
    """First epoch and end of each run of phases without a restart."""
    bounds: list[tuple[int, int]] = []
    epoch = 0
    for phase in plan.phases:
        end = epoch + phase.epochs
        if phase.schedule == "restart" or not bounds:
            bounds.append((epoch, end))
        else:
            bounds[-1] = (bounds[-1][0], end)
        epoch = end
    return bounds
