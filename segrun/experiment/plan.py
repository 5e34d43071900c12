"""From an experiment to a checked plan, without weights: `segrun plan` and `segrun train` share this code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import PreparedData, prepare
from segrun.experiment.tasks import build_auxiliary, build_balance, build_tasks
from segrun.experiment.training_model import planned_model
from segrun.experiment.validate import check_divisible, check_forward, validate
from segrun.models.segmenter import Segmenter
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.task import Task
from segrun.transfer.plan import Plan


@dataclass(frozen=True)
class PlannedTraining:
    """A valid request: its data, its model without storage and its plan.

    Attributes:
        model: On the meta device; its report says which weights are expected.
        notes: What the strategy says of the model.
    """

    data: PreparedData
    auxiliary: Mapping[str, Auxiliary]
    tasks: Sequence[Task]
    model: Segmenter
    plan: Plan
    notes: Sequence[str]


def plan_training(
    experiment: Experiment,
    resume: Checkpoint | None = None,
    processes: int = 1,
    one_process_first: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> PlannedTraining:
    """Prepare the data, build the model's shapes, make the plan, and refuse what cannot be trained.

    No weights are read or downloaded, and no run folder is written.

    Args:
        experiment: What is asked for.
        resume: The run to continue.
        processes: That share each batch.
        one_process_first: See `prepare`.

    Raises:
        RequestError: The parts of the request contradict each other or the data.
        DataError: Files are damaged.
    """
    check_divisible("trainer.batch_size", experiment.trainer.batch_size, processes)
    data = prepare(experiment.data, resume, one_process_first)
    auxiliary = build_auxiliary(experiment, data)
    for name, task in auxiliary.items():
        check_divisible(f"auxiliary.{name}.batch_size", task.batch_size, processes)
    tasks = build_tasks(experiment, auxiliary, data)
    build_balance(experiment, tasks, torch.device("cpu"))
    model, notes = planned_model(experiment, data.classes, data.channels, auxiliary, resume)
    plan = make_plan(experiment, model)
    validate(experiment, data, auxiliary, model, plan)
    images = experiment.trainer.batch_size + sum(task.batch_size for task in auxiliary.values())
    check_forward(experiment, data, model, plan, images // processes)
    return PlannedTraining(data, auxiliary, tasks, model, plan, notes)


def make_plan(experiment: Experiment, model: Segmenter) -> Plan:
    """The checked plan of strategy, freeze schedule and regularizers for an adapted model.

    Raises:
        RequestError: They contradict each other or the model.
    """
    parts = model.parts()
    plan = experiment.strategy.plan(parts, experiment.freeze, experiment.trainer.epochs)
    plan = plan.with_regularizers(tuple(experiment.regularizers), parts, experiment.trainer.batch_size)
    return plan.check(parts)
