"""Weights that are tried on val when a training has ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from segrun.checkpoints.checkpoint import Progress
from segrun.engine.selection import monitored
from segrun.engine.statistics import BATCHES, batch_norms, estimate_statistics
from segrun.inference.evaluation import Evaluation
from segrun.inference.inference import Inference
from segrun.models.segmenter import Segmenter
from segrun.report.tables import percent
from segrun.report.terminal import console
from segrun.transfer.plan import Plan
from segrun.types import Batch

if TYPE_CHECKING:
    from segrun.runs.run import Run


def try_candidates(
    run: Run,
    plan: Plan,
    progress: Progress,
    inference: Inference,
    score: Callable[..., Evaluation],
    batches: Callable[[], Iterator[Batch]],
    several: bool,
) -> dict[str, float]:
    """Score the strategy's candidates on val, and keep one that is better than the best so far. Statistics that were
    collected in training are estimated anew for each, on `batches` of the primary data.

    several: the training's images came from several data sets, so that the best model's own statistics are of a
    mixture: the same weights with statistics of the primary data are a candidate, too.
    """
    device = run.device.device
    phases = [run.snapshots.get_or_create(f"phase{index}") for index, phase in enumerate(plan.phases) if phase.keep]
    if not phases and not several:
        return {}
    model = run.best(merge=False)
    found = list(run.strategy.candidates(phases)) if phases else []
    if several:  # stored: a run that is stopped here has perhaps a candidate in best.ckpt
        found.append(("statistics of the primary data", run.snapshots.get_or_create("end", model.state_dict)))
    norms = collected(model, plan)
    tried: dict[str, float] = {}
    for name, weights in found:
        model.load_state_dict({key: weights[key] for key in model.state_dict()})
        images = (batch.images.to(device) for batch in islice(batches(), BATCHES))
        estimate_statistics(model, images, norms)
        if run.device.num_processes > 1:  # each has seen its share of every batch
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(run.device.reduce(buffer, "mean"))
        looked = score(dataclasses.replace(inference, model=model), names=run.data.splits["val"])
        tried[name] = monitored(looked, run.values["trainer"]["monitor"])
        better = progress.best is None or tried[name] > progress.best
        progress.best = tried[name] if better else progress.best
        if run.device.is_main_process:
            shown = f"{name}: val mIoU {percent(looked.scores.miou)}" + (" *" if better else "")
            console().print(shown, highlight=False, markup=False)
            if better:
                run.keep(model, progress)
    return tried


def collected(model: Segmenter, plan: Plan) -> list[str]:
    """The batch norms whose statistics some phase has collected."""
    parts = model.parts()
    paths: Iterable[str] = [
        path
        for part in parts.values()
        if any(part.name in phase.learn and phase.learn[part.name].statistics for phase in plan.phases)
        for path in part.modules
    ]
    return [name for name in batch_norms(model) if any(f"{name}.".startswith(f"{path}.") for path in paths)]
