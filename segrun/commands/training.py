"""One training, from the first look at the data to the scores of the best epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from segrun import config
from segrun.commands import assemble
from segrun.data.augment import Augment
from segrun.data.dataset import Dataset
from segrun.data.loading import Stream, TrainingSamples, training_batches
from segrun.data.splits import labelled
from segrun.data.survey import Survey, survey
from segrun.engine import checkpoint as checkpoints
from segrun.engine.checkpoint import Checkpoint, Progress
from segrun.engine.device import accelerator, autocast, forget_peak_memory, loader_workers, memory_layout, peak_memory
from segrun.engine.evaluate import Evaluation, evaluate
from segrun.engine.events import Event
from segrun.engine.files import folder as make_folder
from segrun.engine.files import new_folder, write_json, write_text
from segrun.engine.inference import Inference
from segrun.engine.loop import Data, Recipe, Store, fit
from segrun.engine.settings import TrainerSettings
from segrun.errors import Interrupted, RequestError, listed
from segrun.models.loading import LoadReport
from segrun.models.segmenter import Segmenter
from segrun.report import plots
from segrun.report.console import TrainingReport, console, counting, show_result
from segrun.report.environment import environment
from segrun.report.metrics_file import MetricsFile
from segrun.report.plan import plan_table, plan_text
from segrun.transfer.plan import Plan
from segrun.types import Batch

Scored = tuple[Path, dict[str, Any], dict[str, Any] | None]


def train(values: dict[str, Any], folder: Path, fresh: bool, saved: Checkpoint | None, trust: assemble.Trust) -> Scored:
    """Carry a config out in `folder`, or in a new one beside it where `fresh` is asked for and it is taken; gives the
    folder, and the scores of the best epoch on val and test.

    Raises:
        SegrunError: see segrun.errors; nothing is written before config, data and plan have been checked.
    """
    settings = config.typed(values["trainer"], TrainerSettings, "trainer")
    device = prepare(settings)
    torch.manual_seed(values["seed"])
    data = assemble.dataset(values, trust)
    if missing := [split for split in ("train", "val") if not data.splits.get(split)]:
        raise RequestError(
            f"the data set has no {listed(missing)} images; training needs both (val chooses the epoch)."
        )
    if saved:
        data.use(saved.splits)
    sizing = assemble.sizing(values)
    task = assemble.task(values, trust)
    augment: Augment = config.build(values.get("augment"), "augment", trust=trust)
    optimizer = config.build(values.get("optimizer"), "optimizer", trust=trust)
    schedule = config.build(values.get("schedule"), "schedule", trust=trust)
    trackers = {
        name: config.build(values["tracker"][name], f"tracker.{name}", trust=trust)
        for name in values.get("tracker") or {}
    }
    with device.main_process_first():  # one process fetches the weights
        model, resume = build_model(values, data, saved, trust)
    plan = assemble.plan(values, model, trust)

    found = look_at(data)
    names = tuple(data.splits["train"])
    if not saved:
        names = labelled(names, found.of(names).pixels, values["labels"], values["seed"])
        sizing.check(found.of(names).sizes)
        data.use({**data.splits, "train": names})
    task.loss.weigh(found.of(names).pixels.sum(0))
    task.loss.to(device.device)

    if device.is_main_process:
        folder = new_folder(folder) if fresh else make_folder(folder)
    folder = Path(broadcast_object_list([str(folder)])[0])
    run = Run(values, folder, data, model, device)
    if device.is_main_process:
        run.begin(plan, optimizer.lr, found)
    layout = memory_layout(settings.channels_last, device.device.type == "cuda")
    inference = Inference(model, sizing, device.device, partial(autocast, device.device, settings.precision), layout)
    score = partial(evaluate, data=data, accelerator=device, loss=task.loss, batch_size=settings.batch_size)
    samples = TrainingSamples(data, names, sizing, augment, values["seed"])

    def batches(start: int) -> Iterator[Batch]:
        stream = Stream(
            len(names), settings.batch_size, values["seed"], device.process_index, device.num_processes, start
        )
        cuda = device.device.type == "cuda"
        return iter(training_batches(samples, stream, loader_workers(settings.workers, cuda), cuda))

    def look(kept: nn.Module) -> Evaluation:
        return score(dataclasses.replace(inference, model=kept), names=data.splits["val"])

    observers: list[Callable[[Event], None]] = []
    if device.is_main_process:
        done = resume["progress"]["epoch"] if resume else 0
        observers = [TrainingReport(), MetricsFile(folder / "metrics.jsonl", done)]
        observers += [tracker(folder) for tracker in trackers.values()]

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    try:
        progress = fit(
            model, plan, [task], Recipe(settings, optimizer, schedule, values["seed"]),
            Data(batches, settings.steps_per_epoch(len(names)), look), run.store(), device,
            tell, resume,
        )  # fmt: skip
    except Interrupted as stop:
        raise Interrupted(f"{stop} Go on with: segrun train resume={folder}") from None
    finally:
        for observer in observers:
            getattr(observer, "close", lambda: None)()
    return run.end(plan, progress, inference, score)


def prepare(settings: TrainerSettings) -> Accelerator:
    """The accelerator; what torch keeps for the whole process is set for this run."""
    device = accelerator(settings.device, settings.precision)
    if settings.batch_size % device.num_processes:
        raise RequestError(
            f"trainer.batch_size={settings.batch_size}: not a multiple of {device.num_processes} processes."
        )
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    forget_peak_memory(device.device.type == "cuda")
    return device


def build_model(
    values: dict[str, Any], data: Dataset, saved: Checkpoint | None, trust: assemble.Trust
) -> tuple[Segmenter, dict[str, Any] | None]:
    """The model with its pretrained weights, or as it was saved, with the training state to go on from."""
    if saved is None:
        return assemble.new_segmenter(values, data, trust), None
    if saved.training is None:
        raise RequestError("this checkpoint holds no training state; resume wants a run folder with last.ckpt.")
    model = assemble.trained_segmenter(saved, trust)
    model.report = LoadReport(**saved.training["report"])
    return model, dict(saved.training)


def look_at(data: Dataset) -> Survey:
    names = [name for split in data.splits.values() for name in split]
    with counting("looking at every image and mask", len(names)) as tick:
        return survey(data, names, tick)


@dataclasses.dataclass
class Run:
    """A run's folder and what is written to it."""

    values: dict[str, Any]
    folder: Path
    data: Dataset
    model: Segmenter
    device: Accelerator

    def begin(self, plan: Plan, lr: float, found: Survey) -> None:
        """Say what will happen and write down what it is made of, before the first step."""
        parts, report = self.model.parts(), self.model.report
        sizes = sorted(set(found.sizes))
        shown = f"{sizes[0][1]}×{sizes[0][0]}" + (f" to {sizes[-1][1]}×{sizes[-1][0]}" if len(sizes) > 1 else "")
        counts = ", ".join(f"{len(names)} {split}" for split, names in self.data.splits.items())
        out = console()
        out.print(f"data: {counts}; {len(self.data.classes)} classes; {shown} pixels", highlight=False)
        for note in self.data.notes:
            out.print(f"data: {note}", highlight=False, markup=False)
        out.print(f"weights: {report}", highlight=False, markup=False)
        out.print(plan_table(plan, parts, lr))
        write_text(self.folder / "config.yaml", config.to_yaml(self.values))
        write_json(self.folder / "environment.json", environment(self.device.device, report))
        write_json(self.folder / "split.json", {split: list(names) for split, names in self.data.splits.items()})
        write_text(self.folder / "plan.txt", plan_text(plan, parts, lr, report))

    def checkpoint(
        self, weights: Mapping[str, Tensor], progress: Progress, training: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        return Checkpoint(
            weights, self.values, self.data.classes, self.data.splits, progress.epoch, progress.best, training
        )

    def store(self) -> Store:
        if not self.device.is_main_process:
            return Store(last=lambda weights, training: None, best=lambda weights, progress: None)

        def last(weights: Mapping[str, Tensor], training: Mapping[str, Any]) -> None:
            state = {**training, "report": dataclasses.asdict(self.model.report)}
            checkpoints.write(
                self.folder / "last.ckpt", self.checkpoint(weights, Progress(**training["progress"]), state)
            )

        def best(weights: Mapping[str, Tensor], progress: Progress) -> None:
            checkpoints.write(self.folder / "best.ckpt", self.checkpoint(weights, progress))

        return Store(last, best)

    def end(self, plan: Plan, progress: Progress, inference: Inference, score: Callable[..., Evaluation]) -> Scored:
        """Score the best epoch's weights and write down what came out."""
        self.device.wait_for_everyone()
        self.model.load_state_dict(dict(checkpoints.read(self.folder / "best.ckpt").weights))
        splits = {s: score(inference, names=self.data.splits[s]) for s in ("val", "test") if self.data.splits.get(s)}
        summaries = {split: {**found.scores.summary(), "loss": found.loss} for split, found in splits.items()}
        if self.device.is_main_process:
            cost = self._cost(plan, progress)
            split = "test" if "test" in splits else "val"
            last = splits[split]
            last.write_csv(self.folder / "scores.csv")
            plots.curves(self.folder / "metrics.jsonl", self.folder / "plots" / "curves.png")
            plots.confusion(last.scores, self.folder / "plots" / "confusion.png", split)
            plots.class_bars(last.scores, self.folder / "plots" / "iou.png", split)
            plots.samples(self.data, self.data.splits[split], inference, self.folder / "samples")
            write_json(
                self.folder / "result.json",
                {
                    "val": summaries["val"], "test": summaries.get("test"), "best_epoch": progress.best_epoch,
                    "epochs": progress.epoch, "cost": cost, "weights": self.model.report.source,
                    "names": self.values["names"], "seed": self.values["seed"], "labels": self.values["labels"],
                    "config_hash": config.config_hash(self.values),
                },
            )  # fmt: skip
            show_result(last.scores, split, summaries, cost, self.folder, progress)
        self.device.wait_for_everyone()
        return self.folder, summaries["val"], summaries.get("test")

    def _cost(self, plan: Plan, progress: Progress) -> dict[str, Any]:
        parts, trainer = self.model.parts(), self.values["trainer"]
        trained = {name for phase in plan.phases for name in phase.learning(parts)}
        sizes = {p.name: p.size for part in parts.values() for p in part.parameters}
        images = progress.step * trainer["batch_size"] * trainer["accumulate"]
        return {
            "parameters_trained": sum(sizes[name] for name in trained),
            "parameters_total": sum(sizes.values()),
            "seconds": round(progress.total_seconds, 2),
            "steps": progress.step,
            "images_per_second": round(images / max(progress.total_seconds, 1e-9), 2),
            "peak_memory_bytes": peak_memory(self.device.device.type == "cuda"),
        }
