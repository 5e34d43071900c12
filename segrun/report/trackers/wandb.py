"""Weights & Biases (extra `wandb`)."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import yaml

from segrun.errors import RequestError, import_extra, suggest
from segrun.events import EpochDone, Event, StepDone
from segrun.files import write_json
from segrun.report.trackers.scalars import results, scalars
from segrun.report.trackers.trackers import Ended

MODES = ("online", "offline", "disabled")
STATUS = {"finished": 0, "interrupted": 130, "failed": 1}


class WeightsAndBiases:
    """A run of W&B for each run folder, in whose wandb.json its id is kept: a training that goes on, goes on there.

    Raises:
        MissingExtraError: wandb is not installed.
        RequestError: an unknown mode.
    """

    def __init__(
        self, project: str, entity: str | None, group: str | None, mode: str | None, finish_timeout: float
    ) -> None:
        if mode is not None and mode not in MODES:
            raise RequestError(f"tracker.wandb.mode={mode}: there is no such mode. {suggest(mode, MODES)}")
        self._wandb = import_extra("wandb", "wandb")
        self.where = {"project": project, "entity": entity, "group": group, "mode": mode}
        self.finish_timeout = finish_timeout

    def __call__(self, folder: Path) -> WandbRun:
        kept = folder / "wandb.json"
        if not kept.is_file():
            write_json(kept, {"id": secrets.token_hex(4)})
        run = self._wandb.init(
            **self.where,
            id=json.loads(kept.read_text(encoding="utf-8"))["id"],
            resume="allow",
            name=folder.name,
            dir=folder,
            config=yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")),
            reinit="create_new",  # whoever calls segrun.train keeps a run of their own
            settings=self._wandb.Settings(finish_timeout=self.finish_timeout),
        )
        run.define_metric("*", step_metric="epoch")
        run.define_metric("step/loss")
        return WandbRun(run, folder)


class WandbRun:
    """W&B's own step is the optimizer step, which only grows: what a resumed run repeats is left out by W&B."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.run, self.folder = run, folder

    def __call__(self, event: Event) -> None:
        if isinstance(event, (StepDone, EpochDone)):
            values = scalars(event)[1]
            if isinstance(event, EpochDone):
                values["epoch"] = event.epoch
            self.run.log(values, step=event.step)

    def close(self, ended: Ended) -> None:
        self.run.summary["ended"] = ended
        if ended == "finished":
            self.run.summary.update(results(self.folder))
        self.run.finish(exit_code=STATUS[ended])
