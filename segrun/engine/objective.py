"""What a step minimises: the tasks' losses, as the balance weighs them, and the phase's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from segrun.models.segmenter import Output
from segrun.tasks.balance import Balance
from segrun.tasks.task import Task
from segrun.transfer.terms import Bound


@dataclass
class Objective:
    """terms: by name. compared: the parameters by which the balance compares single tasks' gradients, if it does."""

    tasks: Sequence[Task]
    balance: Balance
    terms: Mapping[str, Bound] = field(default_factory=dict)
    compared: Sequence[nn.Parameter] = ()

    @property
    def names(self) -> list[str]:
        """Of all that adds to the loss: tasks, then terms."""
        return [*(task.name for task in self.tasks), *self.terms]

    def losses(self, output: Output, targets: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This batch's part of each task's loss, when `weights` are the sums over the whole window."""
        return {
            t.name: (t.loss(output.tasks[t.name].float(), targets[t.name]) / weights[t.name].clamp(min=1)).sum()
            for t in self.tasks
        }

    def single_gradients(
        self, output: Output, losses: Mapping[str, Tensor], scale: float
    ) -> dict[str, list[Tensor]] | None:
        """Each task's own gradient by the parameters that the balance compares; None where it compares none."""
        if not self.compared:
            return None
        found = {}
        for name, loss in losses.items():
            each = torch.autograd.grad(loss * scale, self.compared, retain_graph=True, allow_unused=True)
            found[name] = [
                torch.zeros_like(p) if g is None else g.float() / scale
                for p, g in zip(self.compared, each, strict=True)
            ]
        return found

    def correct(
        self,
        gradients: Mapping[str, list[Tensor]],
        losses: Mapping[str, float],
        accelerator: Accelerator,
        scale: float,
        seed: int,
    ) -> None:
        """Let the balance see the window's gradients of single tasks, reduced once over the processes, and add to
        those of the model what it says."""
        if accelerator.num_processes > 1:
            gradients = {n: [accelerator.reduce(g, "sum") for g in each] for n, each in gradients.items()}
        extra = self.balance.combine(gradients, losses, seed)
        for parameter, more in zip(self.compared, extra or (), strict=False):
            if parameter.grad is not None:
                parameter.grad.add_(more, alpha=scale)


def summed(
    total: dict[str, list[Tensor]] | None, more: dict[str, list[Tensor]] | None
) -> dict[str, list[Tensor]] | None:
    if total is None or more is None:
        return more
    return {name: [a + b for a, b in zip(total[name], more[name], strict=True)] for name in total}
