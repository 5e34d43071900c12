"""What the loop tells: frozen events. Observers only report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segrun.metrics import Scores
    from segrun.transfer.plan import Phase


@dataclass(frozen=True)
class PhaseStarted:
    phase: Phase
    index: int
    parameters: int  # that learn


@dataclass(frozen=True)
class StepDone:
    step: int  # of the run, from 1
    steps: int  # in all
    epoch: int  # from 1
    loss: float
    lr: float  # the base rate at this step
    images: int


@dataclass(frozen=True)
class EpochDone:
    """Losses are means over the epoch, rates those of its last step; scores where this epoch looked at val.
    losses: of each task, unweighted, and of each term; weights: of the tasks, where there are several."""

    epoch: int
    epochs: int
    phase: str
    step: int
    loss: float
    losses: Mapping[str, float]
    weights: Mapping[str, float]
    lr: Mapping[str, float]  # by part
    seconds: float
    images_per_second: float
    val: Scores | None
    val_loss: float | None
    best: bool


@dataclass(frozen=True)
class PhaseEnded:
    phase: Phase
    audited: int  # frozen tensors that were compared


Event = PhaseStarted | StepDone | EpochDone | PhaseEnded
Emit = Callable[[Event], None]
