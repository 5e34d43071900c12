"""A run's folder: what is written before, during and after a training."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints import delta
from segrun.checkpoints.checkpoint import Checkpoint, Progress
from segrun.checkpoints.snapshots import START, Snapshots
from segrun.config.compose import to_yaml
from segrun.config.keys import config_hash
from segrun.data.dataset import Dataset
from segrun.data.scan.scan import DatasetScan
from segrun.device import peak_memory
from segrun.engine.recipe import CheckpointSink
from segrun.experiment import assemble, networks
from segrun.files import write_json, write_text
from segrun.inference.evaluation import Evaluation
from segrun.inference.inference import Inference
from segrun.models.parts import plain
from segrun.models.segmenter import Segmenter
from segrun.report.plan import plan_table, plan_text
from segrun.report.plots import run as plots
from segrun.report.terminal import console, show_result
from segrun.runs.candidates import try_candidates
from segrun.runs.drift import drift, feature_similarity
from segrun.runs.environment import environment
from segrun.transfer.plan import Plan
from segrun.transfer.strategies.finetune import Strategy
from segrun.types import Batch

Scored = tuple[Path, dict[str, Any], dict[str, Any] | None]
Scoring = Callable[..., Evaluation]


@dataclasses.dataclass
class Run:
    """A run's folder and what is written to it. resumed: what it holds is gone on with."""

    values: dict[str, Any]
    folder: Path
    data: Dataset
    model: Segmenter
    device: Accelerator
    strategy: Strategy
    trust: assemble.Trust
    resumed: bool

    def __post_init__(self) -> None:
        main = self.device.is_main_process
        if main and not self.resumed:
            Snapshots(self.folder / "snapshots").remove()
        self.device.wait_for_everyone()
        # other processes read what is there, and keep what they make to themselves
        self.snapshots = Snapshots(self.folder / "snapshots", writes=main)

    def begin(self, plan: Plan, lr: float, found: DatasetScan, notes: Sequence[str]) -> None:
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
        for note in notes:
            out.print(f"strategy: {note}", highlight=False, markup=False)
        out.print(plan_table(plan, parts, lr))
        write_text(self.folder / "config.yaml", to_yaml(self.values))
        write_json(self.folder / "environment.json", environment(self.device.device, report))
        write_json(self.folder / "split.json", {split: list(names) for split, names in self.data.splits.items()})
        if not self.resumed:  # what an adapting strategy says, it says once
            write_text(self.folder / "plan.txt", plan_text(plan, parts, lr, report, notes))

    def store(self) -> CheckpointSink:
        if not self.device.is_main_process:
            return CheckpointSink(lambda weights, training: None, lambda model, progress: None, self.snapshots)

        def last(weights: Mapping[str, Tensor], training: Mapping[str, Any]) -> None:
            state = {**training, "report": dataclasses.asdict(self.model.report)}
            checkpoints.write(
                self.folder / "last.ckpt", self._checkpoint(weights, Progress(**training["progress"]), training=state)
            )

        return CheckpointSink(last, self.keep, self.snapshots)

    def keep(self, model: nn.Module, progress: Progress) -> None:
        """Write best.ckpt: the mask's head alone, adapters merged; or only what differs from the pretrained weights."""
        primary = copy.deepcopy(model)
        assert isinstance(primary, Segmenter)
        primary.drop_auxiliary()
        base = None
        if self.values["trainer"]["save"] == "delta":
            start = self.snapshots.get_or_create(START)
            came = {plain(name) for name in primary.state_dict()}.intersection(primary.report.matched)
            base, weights = delta.base_hash(start, came), delta.changed(primary.state_dict(), start, came)
        else:
            self.strategy.export(primary)
            weights = primary.state_dict()
        checkpoints.write(self.folder / "best.ckpt", self._checkpoint(weights, progress, base=base))

    def _checkpoint(self, weights: Mapping[str, Tensor], progress: Progress, **more: Any) -> Checkpoint:
        return Checkpoint(
            weights, self.values, self.data.classes, self.data.splits, progress.epoch, progress.best, **more
        )

    def best(self, merge: bool = True) -> Segmenter:
        """The model of best.ckpt, as everyone will load it; or with what it holds apart left apart."""
        model = networks.trained_segmenter(checkpoints.read(self.folder / "best.ckpt"), self.trust, merge=merge)
        return model.to(self.device.device)

    def end(
        self,
        plan: Plan,
        progress: Progress,
        inference: Inference,
        score: Scoring,
        batches: Callable[[], Iterator[Batch]],
        several: bool,
    ) -> Scored:
        """Try what the strategy would try, score the best epoch's weights and write down what came out. several: the
        training's images came from several data sets."""
        self.device.wait_for_everyone()
        tried = try_candidates(self, plan, progress, inference, score, batches, several)
        self.device.wait_for_everyone()
        model = self.best()
        inference = dataclasses.replace(inference, model=model.to(memory_format=inference.layout))  # type: ignore[call-overload]
        wanted = ("val", "test") if self.values.get("test", True) else ("val",)  # runs of older versions have no key
        splits = {s: score(inference, names=self.data.splits[s]) for s in wanted if self.data.splits.get(s)}
        summaries = {split: {**found.scores.summary(), "loss": found.loss} for split, found in splits.items()}
        if self.device.is_main_process:
            cost = self._cost(plan, progress)
            ledger = self._ledger(model)
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
                    "epochs": progress.epoch, "cost": cost, **ledger, "candidates": tried,
                    "weights": self.model.report.source, "names": self.values["names"], "seed": self.values["seed"],
                    "labels": self.values["labels"], "config_hash": config_hash(self.values),
                    "config": self.values,
                    "images": {name: len(names) for name, names in self.data.splits.items()},
                },
            )  # fmt: skip
            self.snapshots.remove()  # only a resume needs them
            show_result(last.scores, split, summaries, cost, ledger["drift"], self.folder, progress)
        self.device.wait_for_everyone()
        return self.folder, summaries["val"], summaries.get("test")

    def _cost(self, plan: Plan, progress: Progress) -> dict[str, Any]:
        parts, trainer = self.model.parts(), self.values["trainer"]
        trained = {name for phase in plan.phases for name in phase.learning(parts)}
        sizes = {p.name: p.size for p in parts.parameters}
        images = progress.step * trainer["batch_size"] * trainer["accumulate"]
        return {
            "parameters_trained": sum(sizes[name] for name in trained),
            "parameters_total": sum(sizes.values()),
            "seconds": round(progress.total_seconds, 2),
            "steps": progress.step,
            "seconds_per_step": round(progress.total_seconds / max(1, progress.step), 4),
            "images_per_second": round(images / max(progress.total_seconds, 1e-9), 2),
            "peak_memory_bytes": peak_memory(self.device.device.type == "cuda"),
            "checkpoint_bytes": (self.folder / "best.ckpt").stat().st_size,
        }

    def _ledger(self, model: Segmenter) -> dict[str, Any]:
        """How far the kept model has gone from its start, in its weights and, if asked, in its features."""
        start = self.snapshots.get_or_create(START)
        ledger: dict[str, Any] = {"drift": drift(model, start)}
        if self.values["trainer"]["cka"]:
            before = copy.deepcopy(model)
            plain_start = {plain(name): value for name, value in start.items()}
            before.load_state_dict({name: plain_start[name] for name in before.state_dict()})
            sizing = assemble.sizing(self.values)
            images = (sizing.image(self.data.image(n)[None].to(self.device.device)) for n in self.data.splits["val"])
            ledger["cka"] = feature_similarity(model, before, images)
        return ledger
