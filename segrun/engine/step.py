"""One optimizer step over a window of batches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from segrun.device import mean_over_processes, memory_layout, sum_over_processes
from segrun.engine.objective import Objective, TaskGradients, add_gradients
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError, SegrunError, join_names
from segrun.models.segmenter import Output
from segrun.tasks.balance.balance import Balance
from segrun.tasks.task import Task
from segrun.types import Batch

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator


class StepResult(NamedTuple):
    """What a step did, over the whole window and all processes.

    Attributes:
        loss: What was minimised.
        losses: Each task's unweighted loss and each regularizer's penalty, by name.
        stopping: Whether any process has received a signal to stop.
    """

    loss: float
    losses: Mapping[str, float]
    stopping: bool


def train_step(
    model: nn.Module,
    optimizer: Any,
    objective: Objective,
    window: Sequence[Batch],
    settings: TrainerSettings,
    accelerator: Accelerator,
    stopping: bool,
    seed: int,
) -> StepResult:
    """One optimizer step over a window of batches.

    The losses' normalizers are summed over the window and all processes first, so that the gradient is that of all the
    window's pixels together, however they are divided into batches.

    Args:
        model: The model, as `accelerator.prepare` returned it.
        optimizer: The optimizer, as `accelerator.prepare` returned it.
        objective: What is minimised.
        window: This process's batches.
        settings: The trainer's settings.
        accelerator: Device, precision and processes.
        stopping: Whether this process has received a signal to stop.
        seed: For balances with a random order; the same in all processes.

    Raises:
        SegrunError: The loss is not finite.
        RequestError: The batches are too small for batch norm.
    """
    device = accelerator.device
    layout = memory_layout(settings.channels_last, device.type == "cuda")
    targets = [targets_on_device(objective.tasks, batch, device) for batch in window]
    normalizers = window_normalizers(objective.tasks, targets, accelerator)
    loss_scale = float(accelerator.scaler.get_scale()) if accelerator.scaler else 1.0
    values = torch.zeros(1 + len(objective.names), device=device)
    gradients: TaskGradients | None = None
    for index, batch in enumerate(window):
        images = batch.images.to(device, non_blocking=True).contiguous(memory_format=layout)
        is_last = index + 1 == len(window)
        with contextlib.nullcontext() if is_last else accelerator.no_sync(model):
            output = forward(model, images, settings)
            losses = objective.task_losses(output, targets[index], normalizers)
            if objective.shared_parameters:
                gradients = add_gradients(gradients, objective.task_gradients(losses, loss_scale))
            values += backward(objective, images, output, losses, 1 / len(window), accelerator)
    loss, by_name, any_stopping = reduced_values(values, objective.names, stopping, accelerator)
    check_finite(loss, by_name, window)
    if gradients is not None:
        task_losses = {task.name: by_name[task.name] for task in objective.tasks}
        objective.correct_gradients(gradients, task_losses, accelerator, loss_scale, seed)
    average_balance_gradients(objective.balance, accelerator)
    if settings.clip is not None:
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    optimizer.zero_grad()
    return StepResult(loss, by_name, any_stopping)


def targets_on_device(tasks: Sequence[Task], batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The batch's targets of these tasks, on the device."""
    return {task.name: batch.targets[task.name].to(device, non_blocking=True) for task in tasks}


def window_normalizers(
    tasks: Sequence[Task], targets: Sequence[Mapping[str, Tensor]], accelerator: Accelerator
) -> dict[str, Tensor]:
    """The normalizers of each task's loss, summed over the window and all processes.

    Args:
        tasks: The tasks.
        targets: The targets of each batch of the window.
        accelerator: Sums over the processes.
    """
    sums: dict[str, Tensor] = {}
    for task in tasks:
        normalizers = torch.stack([task.loss.normalizers(target[task.name]) for target in targets]).sum(0)
        sums[task.name] = sum_over_processes(accelerator, normalizers)
    return sums


def forward(model: nn.Module, images: Tensor, settings: TrainerSettings) -> Output:
    """The model's output for images (B, C, H, W).

    Raises:
        RequestError: Batch norm has a single value per channel, from which it cannot compute a variance.
    """
    try:
        output: Output = model(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RequestError(
            f"trainer.batch_size={settings.batch_size}: batch norm cannot compute a variance from one value per "
            "channel, and image pooling leaves one per image. Use two or more per batch and process, or head=unet."
        ) from error
    return output


def backward(
    objective: Objective,
    images: Tensor,
    output: Output,
    losses: Mapping[str, Tensor],
    share: float,
    accelerator: Accelerator,
) -> Tensor:
    """Add one batch's gradients to `.grad`.

    Args:
        objective: What is minimised.
        images: (B, C, H, W).
        output: The model's output for them, with its graph.
        losses: The batch's share of each task's loss.
        share: 1 / number of batches in the window.
        accelerator: Precision and processes.

    Returns:
        (1 + names,) float32: this process's part of the total loss, then of what `objective.names` lists.
    """
    processes = accelerator.num_processes
    # gradients are averaged over processes: the losses' normalizers were summed over them, the penalties were not
    total = objective.balance.total({name: loss * processes for name, loss in losses.items()}, share)
    with accelerator.autocast():
        penalties = [penalty(images, output) * share for penalty in objective.penalties.values()]
    for penalty in penalties:
        total = total + penalty
    accelerator.backward(total)
    values = [total / processes, *losses.values(), *(penalty / processes for penalty in penalties)]
    return torch.stack([value.detach().float() for value in values])


def reduced_values(
    values: Tensor, names: Sequence[str], stopping: bool, accelerator: Accelerator
) -> tuple[float, dict[str, float], bool]:
    """Sum the window's values over the processes, together with their stop flags, in one transfer.

    Returns:
        The total loss, the other values by name, and whether any process is stopping.
    """
    with_flag = torch.cat([values, values.new_tensor([float(stopping)])])
    loss, *others, stopping_processes = sum_over_processes(accelerator, with_flag).tolist()
    return loss, dict(zip(names, others, strict=True)), stopping_processes > 0


def check_finite(loss: float, by_name: Mapping[str, float], window: Sequence[Batch]) -> None:
    """Raises SegrunError with the images of this process's window where the loss is NaN or infinite."""
    if math.isfinite(loss):
        return
    images = join_names((name for batch in window for name in batch.names), 16)
    culprits = join_names(name for name, value in by_name.items() if not math.isfinite(value))
    raise SegrunError(
        f"the loss is {loss} (of {culprits}). The images of this step: {images}.\n"
        "Look at them, or lower optimizer.lr, set trainer.clip=1, or use trainer.precision=fp32."
    )


def average_balance_gradients(balance: Balance, accelerator: Accelerator) -> None:
    """Average the gradients of the balance's own parameters, which are not part of the distributed model."""
    if accelerator.num_processes == 1:
        return
    for parameter in balance.parameters():
        if parameter.grad is not None:
            parameter.grad.copy_(mean_over_processes(accelerator, parameter.grad))
