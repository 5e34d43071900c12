"""The next training batches without consuming them, for regularizers, balances and measured LR multipliers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segrun.device import mean_over_processes, memory_layout
from segrun.engine.recipe import BatchStream
from segrun.engine.settings import TrainerSettings
from segrun.engine.step import targets_on_device
from segrun.models.segmenter import Output, Segmenter
from segrun.tasks.task import Task
from segrun.transfer.plan import LRMultipliers
from segrun.transfer.regularizers.regularizer import BatchPreview

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator

LR_BATCHES = 5  # batches per measurement of LR multipliers, as in Lee et al., ICLR 2023


def make_batch_preview(
    upcoming_batches: Callable[[], BatchStream], task: Task, settings: TrainerSettings, accelerator: Accelerator
) -> BatchPreview:
    """A function that gives the next training batches, with the loss of one task.

    Args:
        upcoming_batches: Opens a new stream that starts with the batch of the next step.
        task: The primary task.
        settings: The trainer's settings.
        accelerator: Gives the device.
    """
    device = accelerator.device
    layout = memory_layout(settings.channels_last, device.type == "cuda")

    def preview(count: int) -> Iterator[tuple[Tensor, Callable[[Output], Tensor]]]:
        for batch in islice(upcoming_batches(), count):
            target = targets_on_device([task], batch, device)[task.name]

            def loss(output: Output, target: Tensor = target) -> Tensor:
                return task.loss_share(output.tasks[task.name], target, task.loss.normalizers(target))

            # fp32 whatever the training's precision: gradients of single pixels would vanish in fp16
            yield batch.images.to(device).contiguous(memory_format=layout), loss

    return preview


def measure_lr_multipliers(
    model: Segmenter, lr_multipliers: LRMultipliers, preview: BatchPreview, accelerator: Accelerator
) -> dict[str, float]:
    """The LR multiplier of each trained tensor, from its mean gradient over a few batches and all processes.

    Args:
        model: It is left in eval mode, so that no statistics change.
        lr_multipliers: The rule of the phase.
        preview: Gives the next training batches.
        accelerator: Averages over the processes.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # parameters that the primary loss does not reach, such as those of an auxiliary head, have no entry
    mean_gradients: dict[str, Tensor] = {}
    model.eval()
    for images, loss in preview(LR_BATCHES):
        gradients = torch.autograd.grad(loss(model(images)), list(trained.values()), allow_unused=True)
        for name, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                mean_gradients[name] = mean_gradients.get(name, 0) + gradient / LR_BATCHES
    mean_gradients = {name: mean_over_processes(accelerator, gradient) for name, gradient in mean_gradients.items()}
    weights = {name: parameter.detach() for name, parameter in trained.items()}
    return dict(lr_multipliers(weights, mean_gradients))
