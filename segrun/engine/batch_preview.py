"""A look at the training data beside the training: what terms and rates are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from segrun.device import memory_layout
from segrun.engine.settings import TrainerSettings
from segrun.engine.step import on_device
from segrun.models.segmenter import Output, Segmenter
from segrun.tasks.task import Task
from segrun.transfer.plan import Rates
from segrun.transfer.regularizers.regularizer import BatchPreview
from segrun.types import Batch

BATCHES = 5  # for rates, as in Lee et al., ICLR 2023


def probe(
    upcoming: Callable[[], Iterator[Batch]], task: Task, settings: TrainerSettings, accelerator: Accelerator
) -> BatchPreview:
    """The batches that the training is about to see, with the mask's loss. Nothing is used up."""
    device = accelerator.device
    layout = memory_layout(settings.channels_last, device.type == "cuda")

    def look(count: int) -> Iterator[tuple[Tensor, Callable[[Output], Tensor]]]:
        for batch in islice(upcoming(), count):
            target = on_device([task], batch, device)[task.name]

            def loss(output: Output, target: Tensor = target) -> Tensor:
                return task.share(output.tasks[task.name], target, task.loss.normalizers(target))

            # in fp32, whatever the training's precision: gradients of single pixels would vanish in fp16
            yield batch.images.to(device).contiguous(memory_format=layout), loss

    return look


def measured_rates(model: Segmenter, rates: Rates, look: BatchPreview, accelerator: Accelerator) -> Mapping[str, float]:
    """The scale of each learning tensor, from its mean gradient over a few batches. The model is left in eval
    mode, so that no statistic moves; with several processes the gradient is the mean of theirs."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sums: dict[str, Tensor] = {}  # what the mask's loss does not reach, an auxiliary head, keeps its rate
    model.eval()
    for images, loss in look(BATCHES):
        for name, gradient in zip(learning, _gradients(loss(model(images)), list(learning.values())), strict=True):
            if gradient is not None:
                sums[name] = sums.get(name, 0) + gradient / BATCHES
    if accelerator.num_processes > 1:
        sums = {name: accelerator.reduce(value, "mean") for name, value in sums.items()}
    return rates({name: p.detach() for name, p in learning.items()}, sums)


def _gradients(loss: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(loss, parameters, allow_unused=True)
