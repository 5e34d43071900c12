"""Weights that are tried on val when a training has ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import islice

from segrun.checkpoints.snapshots import Snapshots
from segrun.engine.batch_norm import NUM_BATCHES, batch_norm_names, update_batch_norm
from segrun.engine.progress import Progress
from segrun.engine.selection import monitored_score
from segrun.inference.evaluation import Evaluation
from segrun.inference.inference import Inference
from segrun.models.parts import Weights
from segrun.models.segmenter import Segmenter
from segrun.report.formats import percent
from segrun.report.terminal import print_line
from segrun.runs.folder import RunFolder
from segrun.transfer.plan import Plan
from segrun.types import Batch

Score = Callable[..., Evaluation]


def try_candidates(
    run: RunFolder,
    plan: Plan,
    progress: Progress,
    inference: Inference,
    score: Score,
    batches: Callable[[], Iterator[Batch]],
    several_datasets: bool,
) -> dict[str, float]:
    """Score candidates on val, and keep one that is better than the best epoch.

    Batch-norm statistics that were collected in training are estimated again for each candidate, on batches of the
    primary data.

    Args:
        run: The folder; best.ckpt is replaced by a better candidate.
        plan: Its phases with `keep` left weights behind.
        progress: Its best score is raised by a better candidate.
        inference: Precision, sizing and device of the scores.
        score: `evaluate` for an inference and names.
        batches: Training batches of the primary data, from the first one.
        several_datasets: The training images came from several data sets, so that the model's own statistics are of
            a mixture: the same weights with statistics of the primary data are a candidate, too.

    Returns:
        The score on val of each candidate, by name.
    """
    phase_ends = [_phase_end(run.snapshots, index) for index, phase in enumerate(plan.phases) if phase.keep_weights]
    if not phase_ends and not several_datasets:
        return {}
    model = run.best_model(merge=False)
    candidates = list(run.experiment.strategy.candidates(phase_ends)) if phase_ends else []
    if several_datasets:  # stored: in a run that is stopped here, best.ckpt may hold a candidate
        end = run.snapshots.get_or_create("end", model.state_dict)
        candidates.append(("statistics of the primary data", end))
    norms = collected_norms(model, plan)
    scores: dict[str, float] = {}
    for name, weights in candidates:
        model.load_state_dict({key: weights[key] for key in model.state_dict()})
        device = run.accelerator.device
        images = (batch.images.to(device) for batch in islice(batches(), NUM_BATCHES))
        update_batch_norm(model, images, norms)
        _average_statistics(run, model)
        evaluation = score(dataclasses.replace(inference, model=model), names=run.data.splits["val"])
        scores[name] = monitored_score(evaluation, run.experiment.trainer.monitor)
        better = progress.best is None or scores[name] > progress.best
        progress.best = scores[name] if better else progress.best
        if run.accelerator.is_main_process:
            print_line(f"{name}: val mIoU {percent(evaluation.scores.miou)}" + (" *" if better else ""))
            if better:
                run.write_best(model, progress)
    return scores


def collected_norms(model: Segmenter, plan: Plan) -> list[str]:
    """The batch norms whose statistics some phase has collected."""
    collecting = {name for phase in plan.phases for name, settings in phase.trainable.items() if settings.statistics}
    paths = [path for part in model.parts().values() if part.name in collecting for path in part.modules]
    return [name for name in batch_norm_names(model) if any(f"{name}.".startswith(f"{path}.") for path in paths)]


def _phase_end(snapshots: Snapshots, index: int) -> Weights:
    return snapshots.get_or_create(f"phase{index}")


def _average_statistics(run: RunFolder, model: Segmenter) -> None:
    """Each process has seen its share of every batch."""
    if run.accelerator.num_processes > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(run.accelerator.reduce(buffer, "mean"))
