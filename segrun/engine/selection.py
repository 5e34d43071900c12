"""Selection of the best epoch."""

from __future__ import annotations

import math

from segrun.engine.progress import Progress
from segrun.engine.settings import Monitor, TrainerSettings
from segrun.inference.evaluation import Evaluation


def update_best(progress: Progress, evaluation: Evaluation, settings: TrainerSettings, last_phase: bool) -> bool:
    """Compare an evaluation with the best one so far.

    Args:
        progress: Its best score is updated; `ended` is set where patience is exhausted.
        evaluation: The evaluation of the epoch that has just finished.
        settings: Gives the monitored score and the patience.
        last_phase: Whether the epoch is in the last phase, the only one that may end early.

    Returns:
        Whether the epoch is the best one so far.
    """
    score = monitored_score(evaluation, settings.monitor)
    is_best = progress.best is None or score > progress.best
    if is_best:
        progress.best, progress.best_epoch = score, progress.epoch
    progress.misses = 0 if is_best or not last_phase else progress.misses + 1
    progress.ended = settings.patience is not None and progress.misses >= settings.patience
    return is_best


def monitored_score(evaluation: Evaluation, monitor: Monitor) -> float:
    """The score to maximise: -1 where there is none, the negative loss for `monitor="loss"`."""
    if monitor == "loss":
        return -math.inf if evaluation.loss is None else -evaluation.loss
    scores = evaluation.scores
    score = float(scores.dice.nanmean()) if monitor == "mdice" else float(getattr(scores, monitor))
    return score if math.isfinite(score) else -1.0
