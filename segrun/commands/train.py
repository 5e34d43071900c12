"""`segrun train`: from a config to a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segrun.checkpoints import checkpoint as checkpoints
from segrun.config.compose import Config, in_multirun, to_dict
from segrun.config.keys import config_hash
from segrun.errors import RequestError, join_names
from segrun.experiment import assemble
from segrun.experiment.training import train as carry_out
from segrun.sweeps import jobs as sweep

# what a resumed run may change: none of it changes the result
CHANGEABLE = ("trainer.device", "trainer.workers", "trainer.cache", "tracker")


@dataclass(frozen=True)
class TrainResult:
    """folder: the run's, with the best epoch's checkpoint; val, test: as in result.json (test None without one)."""

    folder: Path
    val: Mapping[str, Any]
    test: Mapping[str, Any] | None

    @property
    def checkpoint(self) -> Path:
        return self.folder / "best.ckpt"


def run(cfg: Config) -> TrainResult | None:
    """Train, or go on with `resume`. In a multirun, one job of it: what came of it is read from its folder.

    Raises:
        RequestError: a key that is only for many runs, or for one.
    """
    if cfg.resume is not None and not in_multirun():
        return resumed(cfg)
    values = to_dict(cfg)
    if in_multirun():
        folder = job_folder(values)

        def job() -> TrainResult:
            saved = folder / "last.ckpt"
            return train(values, folder, checkpoints.read(saved) if saved.is_file() else None)

        sweep.run(values["asked"], folder, values, job)
        return None
    if values["names"].get("search"):
        raise RequestError(f"search={values['names']['search']}: many trainings, for the command line: segrun train -m")
    if values["retry"]:
        raise RequestError("retry=true: tries a sweep's failed jobs anew (-m); a single run is new each time.")
    return train(values, run_folder(values))


def resumed(cfg: Config) -> TrainResult:
    """Go on in the run's own folder, with its own config.

    Raises:
        RequestError: nothing to go on with, or an override that would change the result.
    """
    folder = Path(cfg.resume).expanduser()
    folder = folder.parent if folder.is_file() else folder
    keys = [word.partition("=")[0].lstrip("+~") for word in cfg.asked]
    if refused := [
        key for key in keys if key not in ("resume", "output", "trust", *CHANGEABLE) and not key.startswith("tracker")
    ]:
        raise RequestError(
            f"resume goes on with the run's own config; {join_names(refused)} cannot be changed "
            f"(only {', '.join(CHANGEABLE)} can). For another config, start a new run."
        )
    if (folder / "result.json").is_file():
        raise RequestError(f"{folder}: this run is finished; there is nothing to resume.")
    saved = checkpoints.read(folder, "last.ckpt")
    values = dict(saved.config)
    values["trainer"] = {**values["trainer"]}
    for key in ("device", "workers", "cache"):
        if f"trainer.{key}" in keys:
            values["trainer"][key] = cfg.trainer[key]
    if any(key.startswith("tracker") for key in keys):
        values["tracker"] = to_dict(cfg.tracker)
    return train(values, folder, saved, trust=list(cfg.trust))


def train(
    values: dict[str, Any], folder: Path, saved: checkpoints.Checkpoint | None = None, trust: assemble.Trust = None
) -> TrainResult:
    """One training, in a new folder like `folder` or, if it was `saved` or is a sweep's job, in just that one."""
    fresh = saved is None and not in_multirun()
    return TrainResult(*carry_out(values, folder, fresh, saved, trust))


def run_folder(values: Mapping[str, Any]) -> Path:
    """outputs/train/<date>/<time>_<dataset>_<backbone>_<head>_<strategy>"""
    day, clock = time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S")
    return Path(values["output"]).expanduser() / "train" / day / f"{clock}_{label(values)}"


def job_folder(values: Mapping[str, Any]) -> Path:
    """The folder of a job is a function of its config; what leaves the test split unread lies apart, and what was
    chosen by it."""
    if values["resume"] is not None:
        raise RequestError(f"resume={values['resume']}: goes on with one run; with a sweep, the same line does.")
    name = f"{label(values)}_seed{values['seed']}_{config_hash(values)}"
    kind = "search" if not values["test"] else "choose" if "budget" in values else "multirun"
    return Path(values["output"]).expanduser() / kind / name


def label(values: Mapping[str, Any]) -> str:
    words = (assemble.word(values["names"].get(group)) for group in ("backbone", "head", "strategy"))
    return "_".join((assemble.data_word(values), *words))
