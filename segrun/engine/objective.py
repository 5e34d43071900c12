"""What a step minimises: the tasks' losses, as the balance weighs them, and the phase's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from segrun.checkpoints.snapshots import START, Snapshots
from segrun.models.segmenter import Output, Segmenter
from segrun.tasks.balance import Balance
from segrun.tasks.task import Task
from segrun.transfer.regularizers.regularizer import BatchPreview, Penalty, Regularizer


@dataclass
class Objective:
    """terms: by name. compared: the parameters by which the balance compares single tasks' gradients, if it does."""

    tasks: Sequence[Task]
    balance: Balance
    terms: Mapping[str, Penalty] = field(default_factory=dict)
    compared: Sequence[nn.Parameter] = ()

    @property
    def names(self) -> list[str]:
        """Of all that adds to the loss: tasks, then terms."""
        return [*(task.name for task in self.tasks), *self.terms]

    def losses(self, output: Output, targets: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This batch's part of each task's loss, when `weights` are the sums over the whole window."""
        return {t.name: t.share(output.tasks[t.name], targets[t.name], weights[t.name]) for t in self.tasks}

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


def bind(
    term: Regularizer, model: Segmenter, snapshots: Snapshots, look: BatchPreview, begun: bool, accelerator: Accelerator
) -> Penalty:
    """The term as a function, for one phase. begun: what it remembers was stored before, and is not made again."""
    model.eval()  # each epoch sets the modes anew
    memory = snapshots.get_or_create(f"term_{term.name}", None if begun else partial(term.remember, model, look))
    if accelerator.num_processes > 1:  # the first one's: each would remember other batches and statistics
        memory = {name: value.to(accelerator.device) for name, value in memory.items()}
        for value in memory.values():
            torch.distributed.broadcast(value, 0)
    return term.bind(model, snapshots.get_or_create(START), memory)


def compared(model: Segmenter, tasks: Sequence[Task], balance: Balance, look: BatchPreview) -> list[nn.Parameter]:
    """The parameters by which the balance compares the tasks; found on a batch: they follow from the graph."""
    shared = {n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("heads.")}
    if not balance.separate or not shared:
        return []
    model.eval()
    levels = range(len(model.backbone.levels))
    heads = [getattr(model.heads[task.name], "levels_used", levels) for task in tasks]
    read_by = [sum(level in reads for reads in heads) for level in levels]
    ((images, _),) = look(1)
    chosen = balance.shared(list(shared), list(shared.values()), model(images).features, read_by)
    return [list(shared.values())[place] for place in chosen]


def summed(
    total: dict[str, list[Tensor]] | None, more: dict[str, list[Tensor]] | None
) -> dict[str, list[Tensor]] | None:
    if total is None or more is None:
        return more
    return {name: [a + b for a, b in zip(total[name], more[name], strict=True)] for name in total}
