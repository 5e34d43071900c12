"""A run's folder: what is written before and during a training."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints import delta
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.checkpoints.snapshots import START, Snapshots
from segrun.config.recorded import RecordedConfig
from segrun.device import broadcast_object
from segrun.engine.progress import Progress
from segrun.engine.recipe import CheckpointSink
from segrun.experiment.checkpoint_model import restored_model
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import PreparedData
from segrun.experiment.request import RESUMABLE_FORMAT
from segrun.files import create_dir, ensure_dir, write_json, write_text
from segrun.models.parts import plain_name
from segrun.models.segmenter import Segmenter
from segrun.report.plan import plan_table, plan_text
from segrun.report.terminal import console, print_line
from segrun.runs.environment import environment
from segrun.transfer.plan import Plan

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run's folder and everything that is written to it while the training goes on.

    Attributes:
        path: The folder.
        config: The recorded config, with what was measured on the training images.
        resumed: The folder holds a training that is continued.
        snapshots: Weights that the run goes back to.
    """

    path: Path
    config: RecordedConfig
    experiment: Experiment
    data: PreparedData
    model: Segmenter
    accelerator: Accelerator
    resumed: bool
    snapshots: Snapshots

    @classmethod
    def create(
        cls,
        path: Path,
        experiment: Experiment,
        data: PreparedData,
        model: Segmenter,
        accelerator: Accelerator,
        new: bool,
        resumed: bool,
    ) -> RunFolder:
        """Make the folder; with `new`, one beside `path` where that is taken.

        Raises:
            RequestError: It cannot be written.
        """
        main = accelerator.is_main_process
        if main:
            path = create_dir(path) if new else ensure_dir(path)
        path = Path(broadcast_object(str(path)))
        if main and not resumed:
            Snapshots(path / "snapshots").remove()
        accelerator.wait_for_everyone()
        # other processes read what is there, and keep what they make to themselves
        snapshots = Snapshots(path / "snapshots", writes=main)
        config = experiment.config.with_measured(data.measured)
        return cls(path, config, experiment, data, model, accelerator, resumed, snapshots)

    def write_start(self, plan: Plan, notes: Sequence[str]) -> None:
        """Print what will happen, and write down what the run is made of, before its first step."""
        parts, report, lr = self.model.parts(), self.model.report, self.experiment.optimizer.lr
        print_line(f"data: {self._data_summary()}")
        for note in self.data.notes:
            print_line(f"data: {note}")
        print_line(f"weights: {report}")
        for note in notes:
            print_line(f"strategy: {note}")
        console().print(plan_table(plan, parts, lr))
        write_text(self.path / "config.yaml", self.config.to_yaml())
        write_json(self.path / "environment.json", environment(self.accelerator.device, report))
        write_json(self.path / "split.json", {split: list(names) for split, names in self.data.splits.items()})
        if not self.resumed:  # a resumed run has no notes of the strategy
            write_text(self.path / "plan.txt", plan_text(plan, parts, lr, report, notes))

    def checkpoint_sink(self) -> CheckpointSink:
        """Where the loop stores its states; in other processes nowhere."""
        if not self.accelerator.is_main_process:
            return CheckpointSink(lambda weights, training: None, lambda model, progress: None, self.snapshots)
        return CheckpointSink(self._write_last, self.write_best, self.snapshots)

    def write_best(self, model: nn.Module, progress: Progress) -> None:
        """Write best.ckpt: the mask's head alone, adapters merged; or only what differs from the pretrained weights."""
        primary: Any = copy.deepcopy(model)
        primary.drop_auxiliary()
        base: dict[str, str] = {}
        if self.experiment.trainer.save == "delta":
            start = self.snapshots.get_or_create(START)
            loaded = {plain_name(name) for name in primary.state_dict()}.intersection(primary.report.matched)
            weights = delta.changed_tensors(primary.state_dict(), start, loaded)
            base = {"base": delta.base_hash(start, loaded), "base_name": primary.report.source}
        else:
            self.experiment.strategy.export(primary)
            weights = primary.state_dict()
        checkpoints.write(self.path / "best.ckpt", self._checkpoint(weights, progress, **base))

    def best_model(self, merge: bool = True) -> Segmenter:
        """The model of best.ckpt as everyone will load it, or a delta checkpoint's with its adapters kept apart."""
        best = dataclasses.replace(checkpoints.read(self.path / "best.ckpt"), config=self.config.to_dict())
        if best.base is None:
            return restored_model(best, self.experiment.trust).to(self.accelerator.device)
        weights = {**self.snapshots.get_or_create(START), **best.weights}  # what it lacks is as it was at the start
        whole = dataclasses.replace(best, weights=weights, base=None)
        model = restored_model(whole, self.experiment.trust)
        if merge:
            self.experiment.strategy.export(model)
        return model.to(self.accelerator.device)

    def _write_last(self, weights: Mapping[str, Tensor], training: Mapping[str, Any]) -> None:
        state = {
            **training,
            "report": dataclasses.asdict(self.model.report),
            "format": RESUMABLE_FORMAT,
            "processes": self.accelerator.num_processes,
        }
        progress = Progress(**training["progress"])
        checkpoints.write(self.path / "last.ckpt", self._checkpoint(weights, progress, training=state))

    def _checkpoint(self, weights: Mapping[str, Tensor], progress: Progress, **more: Any) -> Checkpoint:
        config, data = self.config.to_dict(), self.data
        return Checkpoint(weights, config, data.classes, data.splits, progress.epoch, progress.best, **more)

    def _data_summary(self) -> str:
        sizes = sorted(set(self.data.scan.sizes))
        shown = [f"{width}×{height}" for height, width in (sizes[0], sizes[-1])]
        size = " to ".join(dict.fromkeys(shown))
        counts = ", ".join(f"{len(names)} {split}" for split, names in self.data.splits.items())
        return f"{counts}; {len(self.data.classes)} classes; {size} pixels"
