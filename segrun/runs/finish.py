"""The end of a run, step by step: candidates, final scores, plots, result files."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segrun.checkpoints.snapshots import START
from segrun.device import peak_memory
from segrun.engine.progress import Progress
from segrun.files import write_json
from segrun.inference.evaluation import Evaluation
from segrun.inference.inference import Inference
from segrun.models.parts import plain_name
from segrun.models.segmenter import Segmenter
from segrun.report.plots.run import save_class_bars, save_confusion, save_curves
from segrun.report.result import print_result
from segrun.report.samples import save_samples
from segrun.runs.candidates import Score, try_candidates
from segrun.runs.drift import drift, feature_similarity
from segrun.runs.folder import RunFolder
from segrun.transfer.plan import Plan
from segrun.types import Batch


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    Attributes:
        model: The best weights, on the device.
        evaluations: By split, of these weights.
        candidates: Scores on val of the weights that were tried after the training, by name.
    """

    model: Segmenter
    inference: Inference
    evaluations: Mapping[str, Evaluation]
    candidates: Mapping[str, float]

    @property
    def final_split(self) -> str:
        """The split of the final score."""
        return "test" if "test" in self.evaluations else "val"

    @property
    def summaries(self) -> dict[str, dict[str, Any]]:
        return {split: {**found.scores.summary(), "loss": found.loss} for split, found in self.evaluations.items()}


def finish(
    run: RunFolder,
    plan: Plan,
    progress: Progress,
    inference: Inference,
    score: Score,
    batches: Callable[[], Iterator[Batch]],
    several_datasets: bool,
) -> RunResult:
    """Try the strategy's candidates, score the best weights, and write down what came out.

    Args:
        run: The folder.
        plan: What was carried out.
        progress: Where the training ended.
        inference: Precision, sizing and device of the scores.
        score: `evaluate` for an inference and names.
        batches: Training batches of the primary data, from the first one.
        several_datasets: The training images came from more than one data set.
    """
    run.accelerator.wait_for_everyone()
    candidates = try_candidates(run, plan, progress, inference, score, batches, several_datasets)
    run.accelerator.wait_for_everyone()
    result = score_best(run, inference, score, candidates)
    if run.accelerator.is_main_process:
        draw_plots(run, result)
        write_results(run, plan, progress, result)
        run.snapshots.remove()  # only a resume needs them
    run.accelerator.wait_for_everyone()
    return result


def score_best(run: RunFolder, inference: Inference, score: Score, candidates: Mapping[str, float]) -> RunResult:
    """Score the weights of best.ckpt on val and, unless it stays unread, on test."""
    model = run.best_model()
    inference = dataclasses.replace(inference, model=model.to(memory_format=inference.layout))  # type: ignore[call-overload]
    splits = ("val", "test") if run.experiment.data.use_test else ("val",)
    names = {split: run.data.splits[split] for split in splits if run.data.splits.get(split)}
    evaluations = {split: score(inference, names=members) for split, members in names.items()}
    return RunResult(model, inference, evaluations, candidates)


def draw_plots(run: RunFolder, result: RunResult) -> None:
    """Curves, confusion matrix, IoU per class, and sample images with truth and prediction."""
    split, folder = result.final_split, run.path / "plots"
    scores = result.evaluations[split].scores
    save_curves(run.path / "metrics.jsonl", folder / "curves.png")
    save_confusion(scores, folder / "confusion.png", split)
    save_class_bars(scores, folder / "iou.png", split)
    save_samples(run.data.dataset, run.data.splits[split], result.inference, run.path / "samples")


def write_results(run: RunFolder, plan: Plan, progress: Progress, result: RunResult) -> None:
    """scores.csv and result.json, and the summary on the terminal."""
    split, summaries = result.final_split, result.summaries
    cost = training_cost(run, plan, progress)
    moved = distance_from_start(run, result.model)
    result.evaluations[split].write_csv(run.path / "scores.csv")
    content = {
        "val": summaries["val"],
        "test": summaries.get("test"),
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "cost": cost,
        **moved,
        "candidates": result.candidates,
        "weights": run.model.report.source,
        **run.config.summary,
        "config_hash": run.config.hash,
        "config": run.config.to_dict(),
        "images": {name: len(names) for name, names in run.data.splits.items()},
    }
    write_json(run.path / "result.json", content)
    scores = result.evaluations[split].scores
    print_result(scores, split, summaries, cost, moved["drift"], run.path, progress.best_epoch)


def training_cost(run: RunFolder, plan: Plan, progress: Progress) -> dict[str, Any]:
    """Parameters, time and memory that the training took."""
    parts, trainer = run.model.parts(), run.experiment.trainer
    trained = {name for phase in plan.phases for name in phase.trainable_parameters(parts)}
    sizes = {p.name: p.size for p in parts.parameters}
    images = progress.step * trainer.batch_size * trainer.accumulate
    return {
        "parameters_trained": sum(sizes[name] for name in trained),
        "parameters_total": sum(sizes.values()),
        "seconds": round(progress.total_seconds, 2),
        "steps": progress.step,
        "seconds_per_step": round(progress.total_seconds / max(1, progress.step), 4),
        "images_per_second": round(images / max(progress.total_seconds, 1e-9), 2),
        "peak_memory_bytes": peak_memory(run.accelerator.device.type == "cuda"),
        "checkpoint_bytes": (run.path / "best.ckpt").stat().st_size,
    }


def distance_from_start(run: RunFolder, model: Segmenter) -> dict[str, Any]:
    """How far the kept model is from its start: in its weights and, if the trainer asks for it, in its features."""
    start = run.snapshots.get_or_create(START)
    distance: dict[str, Any] = {"drift": drift(model, start)}
    if run.experiment.trainer.cka:
        before = copy.deepcopy(model)
        plain_start = {plain_name(name): value for name, value in start.items()}
        before.load_state_dict({name: plain_start[name] for name in before.state_dict()})
        sizing, dataset = run.experiment.data.sizing, run.data.dataset
        device = run.accelerator.device
        images = (sizing.image(dataset.image(name)[None].to(device)) for name in run.data.splits["val"])
        distance["cka"] = feature_similarity(model, before, images)
    return distance
