"""What a step minimises: the tasks' losses, weighted by the balance, and the penalties of the phase's regularizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from segrun.checkpoints.snapshots import START, Snapshots
from segrun.device import copy_from_first_process, sum_over_processes
from segrun.models.segmenter import Output, Segmenter
from segrun.tasks.balance.balance import Balance
from segrun.tasks.task import Task
from segrun.transfer.plan import Plan
from segrun.transfer.regularizers.regularizer import BatchPreview, Penalty, Regularizer

if TYPE_CHECKING:  # accelerate takes a second to import
    from accelerate import Accelerator

TaskGradients = dict[str, list[Tensor]]  # by task, one gradient per shared parameter


@dataclass
class Objective:
    """The objective of one phase.

    Attributes:
        tasks: The tasks, the primary one first.
        balance: Combines their losses.
        penalties: Penalties of the phase's regularizers, by name.
        shared_parameters: The parameters for which the balance compares the gradients of single tasks; empty where it
            compares none.
    """

    tasks: Sequence[Task]
    balance: Balance
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    shared_parameters: Sequence[nn.Parameter] = ()

    @property
    def names(self) -> list[str]:
        """Names of everything that adds to the loss: tasks, then regularizers."""
        return [*(task.name for task in self.tasks), *self.penalties]

    def task_losses(
        self, output: Output, targets: Mapping[str, Tensor], normalizers: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """A batch's share of each task's loss, as scalars by task.

        Args:
            output: The model's output for the batch.
            targets: The batch's target of each task.
            normalizers: The normalizers of each task, summed over the whole window and all processes.
        """
        return {
            task.name: task.loss_share(output.tasks[task.name], targets[task.name], normalizers[task.name])
            for task in self.tasks
        }

    def task_gradients(self, losses: Mapping[str, Tensor], loss_scale: float) -> TaskGradients:
        """The gradient of each task's loss for the shared parameters, as float32; zeros where it has none.

        Args:
            losses: Scalars by task, with their graph, which is kept.
            loss_scale: Factor on the losses during the backward pass, so that fp16 gradients do not vanish. The result
                is divided by it.
        """
        gradients: TaskGradients = {}
        for name, loss in losses.items():
            scaled = torch.autograd.grad(
                loss * loss_scale, self.shared_parameters, retain_graph=True, allow_unused=True
            )
            gradients[name] = [
                torch.zeros_like(parameter) if gradient is None else gradient.float() / loss_scale
                for parameter, gradient in zip(self.shared_parameters, scaled, strict=True)
            ]
        return gradients

    def correct_gradients(
        self,
        gradients: TaskGradients,
        losses: Mapping[str, float],
        accelerator: Accelerator,
        loss_scale: float,
        seed: int,
    ) -> None:
        """Add the balance's correction to `.grad` of the shared parameters.

        Args:
            gradients: What `task_gradients` returned, summed over the window.
            losses: The loss of each task, of the whole window and all processes.
            accelerator: Sums the gradients over the processes.
            loss_scale: The factor that is on `.grad`.
            seed: For balances with a random order.
        """
        summed = {
            name: [sum_over_processes(accelerator, gradient) for gradient in task_gradients]
            for name, task_gradients in gradients.items()
        }
        corrections = self.balance.gradient_correction(summed, losses, seed)
        if corrections is None:
            return
        for parameter, correction in zip(self.shared_parameters, corrections, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(correction, alpha=loss_scale)


def add_gradients(total: TaskGradients | None, gradients: TaskGradients) -> TaskGradients:
    """The sum of the gradients of two batches; `total` is None before the first one."""
    if total is None:
        return gradients
    return {name: [a + b for a, b in zip(total[name], gradients[name], strict=True)] for name in total}


def make_objective(
    model: Segmenter,
    plan: Plan,
    phase_index: int,
    tasks: Sequence[Task],
    balance: Balance,
    snapshots: Snapshots,
    preview: BatchPreview,
    has_started: bool,
    accelerator: Accelerator,
) -> Objective:
    """The objective of one phase. The model may be left in eval mode; each epoch sets the modes.

    Args:
        model: The model at the start of the phase, or where a run is resumed within it.
        plan: The plan.
        phase_index: Position of the phase in the plan.
        tasks: The tasks, the primary one first.
        balance: Combines their losses.
        snapshots: Holds the initial weights and the memory of the regularizers.
        preview: Gives the next training batches.
        has_started: Whether steps of the phase are done already, in the run that is resumed.
        accelerator: Gives the device and the processes.
    """
    previous_phases = plan.phases[:phase_index]
    penalties: dict[str, Penalty] = {}
    for regularizer in plan.phases[phase_index].regularizers:
        is_stored = has_started or any(regularizer in phase.regularizers for phase in previous_phases)
        penalties[regularizer.name] = build_penalty(regularizer, model, snapshots, preview, is_stored, accelerator)
    return Objective(tasks, balance, penalties, find_shared_parameters(model, tasks, balance, preview))


def build_penalty(
    regularizer: Regularizer,
    model: Segmenter,
    snapshots: Snapshots,
    preview: BatchPreview,
    is_stored: bool,
    accelerator: Accelerator,
) -> Penalty:
    """The penalty of a regularizer for one phase.

    Args:
        regularizer: The regularizer.
        model: The model at the start of the phase. It is left in eval mode; each epoch sets the modes.
        snapshots: Holds the initial weights and the regularizer's memory.
        preview: Gives the next training batches.
        is_stored: Whether its memory was stored before, and must not be made again.
        accelerator: Gives the device and the processes.
    """
    model.eval()
    make_memory = None if is_stored else partial(regularizer.prepare_memory, model, preview)
    memory = snapshots.get_or_create(f"regularizer_{regularizer.name}", make_memory)
    if accelerator.num_processes > 1:  # each process saw other batches and statistics
        memory = {name: value.to(accelerator.device) for name, value in memory.items()}
        copy_from_first_process(accelerator, memory.values())
    return regularizer.build_penalty(model, snapshots.get_or_create(START), memory)


def find_shared_parameters(
    model: Segmenter, tasks: Sequence[Task], balance: Balance, preview: BatchPreview
) -> list[nn.Parameter]:
    """The parameters for which the balance compares the gradients of single tasks; empty where it compares none.

    They follow from the graph, so a batch goes through the model. The model is left in eval mode in that case.
    """
    candidates: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith("heads."):
            candidates[name] = parameter
    if not balance.needs_task_gradients or not candidates:
        return []
    model.eval()
    head_counts = [0] * len(model.backbone.levels)
    for task in tasks:
        for level in set(model.head(task.name).levels_used):
            head_counts[level] += 1
    names, parameters = list(candidates), list(candidates.values())
    ((images, _),) = preview(1)
    indices = balance.shared_parameters(names, parameters, model(images).features, head_counts)
    return [parameters[index] for index in indices]
