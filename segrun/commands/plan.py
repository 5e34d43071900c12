"""`segrun plan`: what would be trained, when and at which learning rate. It refuses what `segrun train` refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segrun.checkpoints import checkpoint as checkpoints
from segrun.config.build import to_dataclass
from segrun.device import make_accelerator
from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment
from segrun.experiment.plan import plan_training
from segrun.experiment.resume import find_run, resumed_experiment
from segrun.report.plan import plan_text
from segrun.report.terminal import print_line
from segrun.runs.settings import RunSettings


def run(config: Mapping[str, Any]) -> None:
    """Print the plan; nothing is downloaded, trained or written.

    Raises:
        RequestError: As `segrun train`.
        DataError: As `segrun train`.
    """
    settings = to_dataclass(config, RunSettings, "")
    resume = None
    if settings.resume is not None:
        resume = checkpoints.read(find_run(settings.resume), "last.ckpt")
        experiment = resumed_experiment(config, resume, settings.trust)
    else:
        experiment = Experiment.from_config(config)
    device_note = missing_device(experiment)
    planned = plan_training(experiment, resume)
    notes = [*planned.notes, *([device_note] if device_note else [])]
    parts, report = planned.model.parts(), planned.model.report
    print_line(plan_text(planned.plan, parts, experiment.optimizer.lr, report, notes).rstrip("\n"))


def missing_device(experiment: Experiment) -> str | None:
    """Why this machine cannot train the plan; another one may."""
    trainer = experiment.trainer
    try:
        make_accelerator(trainer.device, trainer.precision)
    except RequestError as error:
        return f"this machine cannot train it: {error}"
    return None
