"""One optimizer step over a window of batches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from segrun.device import memory_layout
from segrun.engine.objective import Objective, summed
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError, SegrunError, join_names
from segrun.models.segmenter import Output
from segrun.tasks.task import Task
from segrun.types import Batch


class Stepped(NamedTuple):
    """loss: what was minimised; each: the tasks' losses, unweighted, and the terms; stopping: some process
    is to stop."""

    loss: float
    each: Mapping[str, float]
    stopping: bool


def step(
    model: nn.Module,
    optimizer: Any,
    objective: Objective,
    window: Sequence[Batch],
    settings: TrainerSettings,
    accelerator: Accelerator,
    stopping: bool,
    seed: int,
) -> Stepped:
    """One optimizer step over a window of batches.

    The losses' weights are summed over the window and all processes first, so that the gradient is that of
    all the window's pixels at once, however they were parted.
    """
    device, processes, share = accelerator.device, accelerator.num_processes, 1 / len(window)
    layout = memory_layout(settings.channels_last, device.type == "cuda")
    targets = [on_device(objective.tasks, batch, device) for batch in window]
    weights = {
        t.name: torch.stack([t.loss.normalizers(target[t.name]) for target in targets]).sum(0) for t in objective.tasks
    }
    if processes > 1:
        weights = {name: accelerator.reduce(value, "sum") for name, value in weights.items()}
    scale = float(accelerator.scaler.get_scale()) if accelerator.scaler else 1.0
    sums = torch.zeros(1 + len(objective.names), device=device)
    single: dict[str, list[Tensor]] | None = None
    for place, (batch, target) in enumerate(zip(window, targets, strict=True)):
        images = batch.images.to(device, non_blocking=True).contiguous(memory_format=layout)
        with accelerator.no_sync(model) if place + 1 < len(window) else contextlib.nullcontext():
            output = forward(model, images, settings)
            losses = objective.losses(output, target, weights)
            single = summed(single, objective.single_gradients(output, losses, scale))
            # gradients are averaged over processes: the losses' weights were summed over them, the terms' were not
            total = objective.balance.total({name: loss * processes for name, loss in losses.items()}, share)
            with accelerator.autocast():
                terms = {name: term(images, output) * share for name, term in objective.terms.items()}
            for term in terms.values():
                total = total + term
            accelerator.backward(total)
        shares = [total / processes, *losses.values(), *(term / processes for term in terms.values())]
        sums += torch.stack([value.detach().float() for value in shares])
    told = torch.cat([sums, sums.new_tensor([float(stopping)])])
    if processes > 1:
        told = accelerator.reduce(told, "sum")
    loss, *each, stops = told.tolist()
    named = dict(zip(objective.names, each, strict=True))
    if not math.isfinite(loss):
        names = join_names((name for batch in window for name in batch.names), 16)
        guilty = [name for name, value in named.items() if not math.isfinite(value)]
        raise SegrunError(
            f"the loss is {loss} (of {join_names(guilty)}). The images of this step: {names}.\n"
            "ImageRecord at them, or lower optimizer.lr, set trainer.clip=1, or use trainer.precision=fp32."
        )
    if single is not None:
        objective.correct(single, {t.name: named[t.name] for t in objective.tasks}, accelerator, scale, seed)
    if processes > 1:
        for parameter in objective.balance.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(accelerator.reduce(parameter.grad, "mean"))
    if settings.clip is not None:
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    optimizer.zero_grad()
    return Stepped(loss, named, stops > 0)


def forward(model: nn.Module, images: Tensor, settings: TrainerSettings) -> Output:
    try:
        output: Output = model(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RequestError(
            f"trainer.batch_size={settings.batch_size}: batch norm cannot learn from one value a channel "
            "(image pooling makes one an image). Use two images a batch and process or more, or head=unet."
        ) from error
    return output


def on_device(tasks: Sequence[Task], batch: Batch, device: torch.device) -> dict[str, Tensor]:
    return {task.name: batch.targets[task.name].to(device, non_blocking=True) for task in tasks}
