"""`segrun plan`: what would be trained, when and at which learning rate. It refuses what `segrun train` refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segrun.device import check_device
from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment
from segrun.experiment.plan import plan_training
from segrun.experiment.request import read_request
from segrun.report.plan import plan_text
from segrun.report.terminal import print_line


def run(config: Mapping[str, Any]) -> None:
    """Print the plan; no weights are downloaded, nothing is trained and no run folder is written.

    Raises:
        RequestError: As `segrun train`.
        DataError: As `segrun train`.
    """
    request = read_request(config)
    experiment = request.experiment
    device_note = missing_device(experiment)
    planned = plan_training(experiment, request.resume)
    notes = [*planned.notes, *([device_note] if device_note else [])]
    parts, report = planned.model.parts(), planned.model.report
    print_line(plan_text(planned.plan, parts, experiment.optimizer.lr, report, notes).rstrip("\n"))


def missing_device(experiment: Experiment) -> str | None:
    """Why this machine cannot train the plan; another one may."""
    trainer = experiment.trainer
    try:
        check_device(trainer.device, trainer.precision)
    except RequestError as error:
        return f"this machine cannot train it: {error}"
    return None
