"""Events of a training, for terminal, files and trackers. Observers only report; they change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # metrics imports torch, which not every observer needs
    from segrun.metrics import Scores


@dataclass(frozen=True)
class PhaseStarted:
    """A phase of the plan has started.

    Attributes:
        name: Name of the phase.
        index: Its position in the plan, from 0.
        parameters: Number of trained values.
    """

    name: str
    index: int
    parameters: int


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is done.

    Attributes:
        step: Number of the step in the run, from 1.
        steps: Number of steps of the whole run.
        epoch: Number of the epoch, from 1.
        loss: What the step minimised.
        lr: Base learning rate of the step.
        images: Number of images in the step, over all processes.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    images: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done.

    Attributes:
        epoch: Number of the epoch, from 1.
        epochs: Number of epochs of the whole run.
        phase: Name of the phase.
        step: Number of steps done so far.
        loss: Mean over the epoch of what the steps minimised.
        losses: Mean over the epoch of each task's unweighted loss and each regularizer's penalty, by name.
        weights: Weight of each task's loss; empty where there is one task.
        lr: Learning rate of each trained part in the last step of the epoch.
        seconds: Time spent in steps.
        images_per_second: Images per second of that time, over all processes.
        val: Scores on val; None where this epoch was not evaluated.
        val_loss: Loss on val; None where this epoch was not evaluated.
        best: Whether it is the best epoch so far.
    """

    epoch: int
    epochs: int
    phase: str
    step: int
    loss: float
    losses: Mapping[str, float]
    weights: Mapping[str, float]
    lr: Mapping[str, float]
    seconds: float
    images_per_second: float
    val: Scores | None
    val_loss: float | None
    best: bool


@dataclass(frozen=True)
class PhaseEnded:
    """A phase of the plan is done, and its frozen tensors are unchanged.

    Attributes:
        name: Name of the phase.
        audited_tensors: Number of frozen tensors that were compared.
    """

    name: str
    audited_tensors: int


Event = PhaseStarted | StepDone | EpochDone | PhaseEnded
Emit = Callable[[Event], None]
