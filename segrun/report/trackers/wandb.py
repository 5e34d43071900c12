"""Weights & Biases (extra `wandb`)."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

from segrun.errors import import_extra
from segrun.events import EpochDone, Event, StepDone
from segrun.files import write_json
from segrun.names import shortened
from segrun.ranges import NonNegativeFloat
from segrun.report.trackers.scalars import event_scalars, read_config, result_scalars
from segrun.report.trackers.trackers import RunStatus
from segrun.schema import read_json

NAME_LIMIT = 128  # of a W&B run, in characters
EXIT_CODES = {"finished": 0, "interrupted": 130, "failed": 1}


class _Id(TypedDict):
    """wandb.json"""

    id: str


class WeightsAndBiases:
    """A tracker with one W&B run per run folder. Its id is kept in wandb.json, so that a resumed run continues there.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(
        self,
        project: str,
        entity: str | None,
        group: str | None,
        mode: Literal["online", "offline", "disabled"] | None,
        finish_timeout: NonNegativeFloat,
    ) -> None:
        """
        Args:
            project: Name of the W&B project.
            entity: A user or a team; None for the default of the account.
            group: Name under which runs are grouped.
            mode: None for WANDB_MODE, or online if that is not set.
            finish_timeout: Seconds to wait for uploads at the end of a run.
        """
        self._wandb = import_extra("wandb", "wandb")
        self.options = {"project": project, "entity": entity, "group": group, "mode": mode}
        self.finish_timeout = finish_timeout

    def __call__(self, folder: Path) -> WandbRun:
        id_file = folder / "wandb.json"
        if not id_file.is_file():
            write_json(id_file, {"id": secrets.token_hex(4)})
        run = self._wandb.init(
            **self.options,
            id=read_json(id_file, _Id, "Delete it to begin a new W&B run.")["id"],
            resume="allow",
            name=shortened(folder.name, NAME_LIMIT),
            dir=folder,
            config=read_config(folder),
            reinit="create_new",  # a caller of segrun.train may have a W&B run that stays open
            settings=self._wandb.Settings(finish_timeout=self.finish_timeout),
        )
        run.define_metric("*", step_metric="epoch")
        run.define_metric("step/loss")
        return WandbRun(run, folder)


class WandbRun:
    """Sends numbers to W&B.

    W&B's own step is the optimizer step and only grows, so W&B ignores the steps that a resumed run repeats.
    """

    def __init__(self, run: Any, folder: Path) -> None:
        self.run, self.folder = run, folder

    def __call__(self, event: Event) -> None:
        if not isinstance(event, (StepDone, EpochDone)):
            return
        _, scalars = event_scalars(event)
        if isinstance(event, EpochDone):
            scalars["epoch"] = event.epoch
        self.run.log(scalars, step=event.step)

    def close(self, status: RunStatus) -> None:
        """Send the status, and the result of a finished run."""
        self.run.summary["ended"] = status
        if status == "finished":
            self.run.summary.update(result_scalars(self.folder))
        self.run.finish(exit_code=EXIT_CODES[status])
