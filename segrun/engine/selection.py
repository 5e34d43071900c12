"""Which epoch is kept."""

from __future__ import annotations

import math

from segrun.checkpoints.checkpoint import Progress
from segrun.engine.settings import TrainerSettings
from segrun.inference.evaluation import Evaluation


def update_best(progress: Progress, looked: Evaluation, settings: TrainerSettings, last_phase: bool) -> bool:
    """Whether this epoch is the best so far; `progress.ended` where patience is at its end."""
    score = monitored(looked, settings.monitor)
    better = progress.best is None or score > progress.best
    if better:
        progress.best, progress.best_epoch = score, progress.epoch
    progress.misses = 0 if better or not last_phase else progress.misses + 1
    progress.ended = settings.patience is not None and progress.misses >= settings.patience
    return better


def monitored(looked: Evaluation, monitor: str) -> float:
    """The score to maximise."""
    if monitor == "loss":
        return -float(looked.loss if looked.loss is not None else math.inf)
    scores = looked.scores
    value = float(scores.dice.nanmean()) if monitor == "mdice" else float(getattr(scores, monitor))
    return value if math.isfinite(value) else -1.0
