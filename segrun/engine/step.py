"""One optimizer step over a window of batches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from segrun.engine.device import memory_layout
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError, SegrunError, listed
from segrun.tasks.task import Task
from segrun.types import Batch


def step(
    model: nn.Module,
    optimizer: Any,
    tasks: Sequence[Task],
    window: Sequence[Batch],
    settings: TrainerSettings,
    accelerator: Accelerator,
    stopping: bool,
) -> tuple[float, bool]:
    """One optimizer step over a window of batches. Returns the loss, and whether any process is to stop.

    The losses' weights are summed over the window and all processes first, so that the gradient is that of
    all the window's pixels at once, however they were parted.
    """
    device = accelerator.device
    layout = memory_layout(settings.channels_last, device.type == "cuda")
    targets = [{t.name: batch.targets[t.name].to(device, non_blocking=True) for t in tasks} for batch in window]
    weights = {t.name: torch.stack([t.loss.weights(target[t.name]) for target in targets]).sum(0) for t in tasks}
    if accelerator.num_processes > 1:
        weights = {name: accelerator.reduce(value, "sum") for name, value in weights.items()}
    total = torch.zeros((), device=device)
    for place, (batch, target) in enumerate(zip(window, targets, strict=True)):
        images = batch.images.to(device, non_blocking=True).contiguous(memory_format=layout)
        with accelerator.no_sync(model) if place + 1 < len(window) else contextlib.nullcontext():
            try:
                output = model(images)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise RequestError(
                    f"trainer.batch_size={settings.batch_size}: batch norm cannot learn from one value a channel "
                    "(image pooling makes one an image). Use two images a batch and process or more, or head=unet."
                ) from error
            losses = [
                t.weight * (t.loss(output.tasks[t.name].float(), target[t.name]) / weights[t.name].clamp(min=1)).sum()
                for t in tasks
            ]
            loss = torch.stack(losses).sum()
            # gradients are averaged over processes, the weights were summed
            accelerator.backward(loss * accelerator.num_processes)
        total += loss.detach()
    told = torch.stack([total, torch.tensor(float(stopping), device=device)])
    if accelerator.num_processes > 1:
        told = accelerator.reduce(told, "sum")
    value, stops = told.tolist()
    if not math.isfinite(value):
        names = listed((name for batch in window for name in batch.names), 16)
        raise SegrunError(
            f"the loss is {value}. The images of this step: {names}.\n"
            "Look at them, or lower optimizer.lr, set trainer.clip=1, or use trainer.precision=fp32."
        )
    if settings.clip is not None:
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    optimizer.zero_grad()
    return value, stops > 0
