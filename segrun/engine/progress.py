"""How far a training is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from segrun.events import EpochDone
from segrun.inference.evaluation import Evaluation


@dataclass
class Progress:
    """The position of a training, and the sums of the current epoch. Stored in last.ckpt by field name.

    Attributes:
        epoch: Number of finished epochs.
        step: Number of finished optimizer steps.
        best: Best score on val so far; None before the first evaluation.
        best_epoch: Number of the epoch with that score, from 1.
        misses: Evaluations in the last phase without a better score since the best one.
        loss: Sum over the epoch's steps of what they minimised.
        losses: Sum over the epoch's steps of each task's unweighted loss and each regularizer's penalty, by name.
        seconds: Time spent in the epoch's steps.
        images: Images in the epoch's steps, over all processes.
        total_seconds: Time spent in the steps of the finished epochs.
        ended: Whether training ended early for lack of a better score.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    misses: int = 0
    loss: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    images: int = 0
    total_seconds: float = 0.0
    ended: bool = False

    def add_step(self, loss: float, losses: Mapping[str, float], images: int) -> None:
        """Count a finished step."""
        self.step += 1
        self.loss += loss
        self.losses = {name: self.losses.get(name, 0.0) + value for name, value in losses.items()}
        self.images += images

    def finish_epoch(self) -> None:
        """Add the epoch's time to the total, and set the sums of the epoch to zero."""
        self.total_seconds += self.seconds
        self.loss, self.losses, self.seconds, self.images = 0.0, {}, 0.0, 0


def epoch_done(
    progress: Progress,
    phase: str,
    epochs: int,
    steps: int,
    weights: Mapping[str, float],
    lr: Mapping[str, float],
    evaluation: Evaluation | None,
    is_best: bool,
) -> EpochDone:
    """The event of the epoch of so many steps that has just finished; see `EpochDone`."""
    return EpochDone(
        epoch=progress.epoch,
        epochs=epochs,
        phase=phase,
        step=progress.step,
        loss=progress.loss / steps,
        losses={name: total / steps for name, total in progress.losses.items()},
        weights=weights,
        lr=lr,
        seconds=progress.seconds,
        images_per_second=progress.images / max(progress.seconds, 1e-9),
        val=evaluation.scores if evaluation else None,
        val_loss=evaluation.loss if evaluation else None,
        best=is_best,
    )
