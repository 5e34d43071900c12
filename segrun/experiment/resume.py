"""The experiment of a run that is continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.keys import facts, keys_that
from segrun.config.recorded import RecordedConfig
from segrun.errors import RequestError, join_names
from segrun.experiment.experiment import Experiment

RESUMABLE_FORMAT = 2  # of the training state; raised when a state of older versions cannot be continued


def find_run(path: str) -> Path:
    """The folder of the run to continue; a checkpoint in it is accepted, too.

    Raises:
        RequestError: The run has ended.
    """
    folder = Path(path).expanduser()
    folder = folder.parent if folder.is_file() else folder
    if (folder / "result.json").is_file():
        raise RequestError(f"{folder}: this run has ended; there is nothing to resume.")
    return folder


def resumed_experiment(config: Mapping[str, Any], resume: Checkpoint, trust: Sequence[str]) -> Experiment:
    """The run's own experiment, with the few changes that cannot change its result.

    Args:
        config: What the command line asks for; only its overrides count.
        resume: The run's last.ckpt.
        trust: Modules that the checkpoint's config may name.

    Raises:
        RequestError: An override would change the result, or an older version of segrun began the run.
    """
    keys = RecordedConfig(config).overridden_keys
    refused = [key for key in keys if not facts(key).may_change_on_resume]
    if refused:
        allowed = [key for key in keys_that("may_change_on_resume") if key not in ("resume", "output", "trust")]
        raise RequestError(
            f"resume continues with the run's own config; {join_names(refused)} cannot be changed "
            f"(only {', '.join(allowed)} can). For another config, start a new run."
        )
    if resume.training is None:
        raise RequestError("this checkpoint holds no training state. Resume a run folder with last.ckpt.")
    if resume.training.get("format") != RESUMABLE_FORMAT:
        raise RequestError(
            "an older version of segrun began this run, and this one cannot continue it. Start it again."
        )
    values = dict(resume.config)
    values["trainer"] = dict(values["trainer"])
    for key in keys:
        group, _, name = key.partition(".")
        if group == "trainer":
            values["trainer"][name] = config["trainer"][name]
        if group == "tracker":
            values["tracker"] = config["tracker"]
    return Experiment.from_config(values, trust)
