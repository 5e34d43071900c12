"""The plan of an experiment, and every refusal of a request: `segrun plan` and `segrun train` share this code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from segrun.checkpoints.checkpoint import Checkpoint
from segrun.engine.step import forward
from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import PreparedData, prepare
from segrun.experiment.tasks import build_auxiliary, build_balance, build_tasks
from segrun.experiment.train_batches import try_one_sample
from segrun.experiment.training_model import planned_model
from segrun.models.segmenter import Segmenter
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.task import Task
from segrun.transfer.apply import set_modes
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

    Neither weights nor a network connection are needed, and nothing is written.

    Args:
        experiment: What is asked for.
        resume: The run to continue.
        processes: That share each batch.
        one_process_first: See `prepare`.

    Raises:
        RequestError: The parts of the request contradict each other or the data.
        DataError: Files are damaged.
    """
    check_batch_sizes(experiment, processes)
    data = prepare(experiment.data, resume, one_process_first)
    auxiliary = build_auxiliary(experiment, data)
    tasks = build_tasks(experiment, auxiliary, data)
    build_balance(experiment, tasks, torch.device("cpu"))
    model, notes = planned_model(experiment, data.classes, data.channels, auxiliary)
    plan = make_plan(experiment, model)
    validate(experiment, data, auxiliary, model, plan)
    check_forward(experiment, data, model, plan, experiment.trainer.batch_size // processes)
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


def validate(
    experiment: Experiment,
    data: PreparedData,
    auxiliary: Mapping[str, Auxiliary],
    model: Segmenter,
    plan: Plan,
) -> None:
    """Raises RequestError where parts that are right by themselves do not work together."""
    if experiment.trainer.save == "delta" and not model.report.matched:
        raise RequestError("trainer.save=delta keeps what differs from pretrained weights, and none were loaded.")
    if len(model.heads) > 1 and not _backbone_learns(model, plan):
        raise RequestError(
            "auxiliary tasks help the mask through the layers that they share with it, and none of these is trained in "
            "this plan. Leave out auxiliary=[…], or let the backbone learn."
        )
    try_one_sample(data, auxiliary, experiment.data.sizing, experiment.data.augment)
    for task in auxiliary.values():
        task.check(data.class_counts, len(data.classes))
        task.check_names(data.splits["train"])


def check_batch_sizes(experiment: Experiment, processes: int) -> None:
    """Raises RequestError where a batch cannot be divided evenly among the processes."""
    sizes = {"trainer.batch_size": experiment.trainer.batch_size}
    for name, task in experiment.auxiliary.items():
        if "batch_size" in task.settings:
            sizes[f"auxiliary.{name}.batch_size"] = task.settings["batch_size"]
    for key, size in sizes.items():
        if size % processes:
            raise RequestError(f"{key}={size}: not a multiple of {processes} processes.")


def check_forward(experiment: Experiment, data: PreparedData, model: Segmenter, plan: Plan, images: int) -> None:
    """One forward pass per phase, without storage, of the smallest batch that the training makes.

    Args:
        experiment: What is asked for.
        data: Its images.
        model: On the meta device.
        plan: Says which norms collect statistics.
        images: Per batch and process.

    Raises:
        RequestError: The images are too small for the model, or a batch is too small for its batch norms.
    """
    size = tuple(experiment.data.sizing.size or min(data.train_scan.sizes))
    batch = torch.zeros((images, data.channels, *size), device="meta")
    for phase in plan.phases:
        set_modes(model, model.parts(), phase)
        forward(model, batch, experiment.trainer)


def _backbone_learns(model: Segmenter, plan: Plan) -> bool:
    shared = [name for name in model.parts() if not name.startswith("head.")]
    return any(name in phase.trainable for phase in plan.phases for name in shared)
