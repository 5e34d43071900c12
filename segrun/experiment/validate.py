"""Refusals of parts that are right by themselves but do not work together."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from segrun.engine.step import forward
from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment
from segrun.experiment.prepare import PreparedData
from segrun.experiment.train_batches import try_one_sample
from segrun.models.segmenter import Segmenter
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.transfer.apply import set_modes
from segrun.transfer.plan import Plan


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
            "this plan. Leave out auxiliary=[…], or train the backbone: freeze=none, strategy=finetune."
        )
    try_one_sample(data, auxiliary, experiment.data.sizing, experiment.data.augment)
    for task in auxiliary.values():
        task.check(data.class_counts, len(data.classes))
        task.check_names(data.splits["train"])


def check_divisible(key: str, size: int, processes: int) -> None:
    """Raises RequestError where a batch cannot be divided evenly among the processes."""
    if size % processes:
        raise RequestError(f"{key}={size}: not a multiple of {processes} processes.")


def check_forward(experiment: Experiment, data: PreparedData, model: Segmenter, plan: Plan, images: int) -> None:
    """One forward pass per phase, without storage, of a batch as the training makes it.

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
    parts = model.parts()
    for phase in plan.phases:
        set_modes(model, parts, phase)
        forward(model, batch, experiment.trainer)


def _backbone_learns(model: Segmenter, plan: Plan) -> bool:
    shared = [name for name in model.parts() if not name.startswith("head.")]
    return any(name in phase.trainable for phase in plan.phases for name in shared)
