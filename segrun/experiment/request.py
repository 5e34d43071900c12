"""What `segrun train` and `segrun plan` are asked for: a new experiment, or a run that is continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import to_dataclass
from segrun.config.keys import facts, keys_that
from segrun.config.recorded import RecordedConfig
from segrun.engine.state import check_training_state
from segrun.errors import RequestError, join_names
from segrun.experiment.experiment import Experiment, trackers_of
from segrun.experiment.recorded_paths import print_paths
from segrun.report.terminal import print_line

RESUMABLE_FORMAT = 2  # of the training state; raised when a state of older versions cannot be continued


@dataclass(frozen=True)
class RunSettings:
    """Keys of `segrun train` about the run itself; see conf/train.yaml.

    Attributes:
        output: Where run folders are made.
        resume: A run folder to continue.
        test: False: no image of the test split is read.
        retry: Run the failed jobs of a sweep again.
        trust: Modules outside segrun that a checkpoint's config may name.
    """

    output: str
    resume: str | None
    test: bool
    retry: bool
    trust: Sequence[str]


@dataclass(frozen=True)
class RunRequest:
    """A single training.

    Attributes:
        folder: Of the run that is continued; None for a new one.
        resume: Its state.
    """

    experiment: Experiment
    settings: RunSettings
    folder: Path | None = None
    resume: Checkpoint | None = None


def read_request(config: Mapping[str, Any]) -> RunRequest:
    """A single training out of a config of `segrun train`.

    Raises:
        RequestError: A setting is not allowed, a key is only for sweeps, or a run cannot be continued.
    """
    settings = to_dataclass(config, RunSettings, "")
    options = RecordedConfig(config).options
    if "search" in options:
        raise RequestError(f"search={options['search']}: several trainings need the command line: segrun train -m")
    if settings.retry:
        raise RequestError("retry=true: repeats the failed jobs of a sweep (-m); a single run is always new.")
    if settings.resume is None:
        return RunRequest(Experiment.from_config(config), settings)
    folder = find_run(settings.resume)
    resume = checkpoints.read(folder, "last.ckpt")
    return RunRequest(resumed_experiment(config, resume, settings.trust), settings, folder, resume)


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
    check_resumable(resume)
    values = dict(resume.config)
    free = {name: value for name, value in config["trainer"].items() if facts(f"trainer.{name}").may_change_on_resume}
    values["trainer"] = {**free, **values["trainer"]}  # a run of an older version lacks newer keys
    for key in keys:
        group, _, name = key.partition(".")
        if group == "trainer":
            values["trainer"][name] = config["trainer"][name]
    own_trackers = any(key.partition(".")[0] == "tracker" for key in keys)
    values["tracker"] = config.get("tracker") if own_trackers else _trackers_without_settings(values)
    print_paths(values, "dataset", "auxiliary")
    with resume.errors_name_it():
        experiment = Experiment.from_config({**values, "tracker": None}, trust)
    trackers = trackers_of(values, None if own_trackers else trust)
    return replace(experiment, config=RecordedConfig(values), trackers=trackers)


def _trackers_without_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded trackers that need no settings: an address or account is taken from the user's own words only."""
    recorded = values.get("tracker") or {}
    for name in (name for name, settings in recorded.items() if set(settings) != {"_target_"}):
        print_line(
            f"tracker {name}: not continued, because only the checkpoint says where it sends to. "
            f"To continue it: tracker=[{name}] tracker.{name}.…",
            "yellow",
        )
    return {name: settings for name, settings in recorded.items() if set(settings) == {"_target_"}}


def interrupted_state(folder: Path) -> Checkpoint | None:
    """What an interrupted job of a sweep continues from; None where it has not begun.

    Raises:
        RequestError: It cannot be continued. The message names the folder to delete.
    """
    if not (folder / "last.ckpt").is_file():
        return None
    try:
        state = checkpoints.read(folder, "last.ckpt")
        check_resumable(state)
    except RequestError as error:
        raise RequestError(f"{error} To train this job from its start, delete {folder}.") from error
    return state


def check_processes(resume: Checkpoint | None, processes: int) -> None:
    """Refuse to continue a training with another number of processes, which would draw other random numbers.

    Raises:
        RequestError: `processes` is not the number that the checkpoint records; older checkpoints record none.
    """
    recorded = processes if resume is None or resume.training is None else resume.training.get("processes", processes)
    if recorded != processes:
        raise RequestError(
            f"resume: {recorded} processes began this run, and now there are {processes}. Start {recorded}: "
            f"torchrun --nproc_per_node={recorded} -m segrun train resume=…"
        )


def check_resumable(checkpoint: Checkpoint) -> None:
    """Raises RequestError where a training cannot be continued from this checkpoint."""
    if checkpoint.training is None:
        raise RequestError("resume: this checkpoint holds no training state. Resume a run folder with last.ckpt.")
    if checkpoint.training.get("format") != RESUMABLE_FORMAT:
        raise RequestError(
            "resume: an older segrun began this run, and this version cannot continue it. Start a new run."
        )
    averages = checkpoint.config["trainer"].get("ema") is not None
    check_training_state(checkpoint.training, checkpoint.weights, averages, f"{checkpoint.path}: training")
