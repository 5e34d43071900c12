"""Carry a phase out on a model, and prove afterwards that what was frozen stood still."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from segrun.errors import SegrunError, join_names
from segrun.models.parts import NORMS, Parts
from segrun.transfer.plan import PartSettings, Phase


def set_trainable(model: nn.Module, parts: Parts, phase: Phase) -> dict[str, PartSettings]:
    """Let just the phase's parameters have gradients; returns how each of them learns, by name."""
    learning = phase.learning(parts)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
        parameter.grad = None
    return learning


def set_modes(model: nn.Module, parts: Parts, phase: Phase) -> None:
    """Training mode for what learns, eval mode for what stands still. Called again after each evaluation,
    which puts everything in eval mode: no module's own train() is overridden."""
    model.train()
    for part in parts.values():
        how = phase.learn.get(part.name)
        for path in part.modules:
            module = model.get_submodule(path)
            if how is None:
                module.eval()
            elif not how.statistics:
                for inner in module.modules():
                    if isinstance(inner, NORMS):
                        inner.eval()


class FreezeAudit:
    """Keeps a copy of what a phase freezes, parameters and buffers, and compares it bit for bit."""

    def __init__(self, model: nn.Module, parts: Parts, phase: Phase) -> None:
        self.phase = phase.name
        self.before = {name: value.detach().cpu().clone() for name, value in frozen(model, parts, phase).items()}
        self.now = partial(frozen, model, parts, phase)

    def check(self) -> int:
        """The number of frozen tensors. Raises SegrunError naming those that changed."""
        now = self.now()
        changed = [name for name, value in self.before.items() if not _same(value, now[name].detach().cpu())]
        if changed:
            raise SegrunError(
                f"the freeze audit failed: {len(changed)} tensors changed in phase {self.phase!r} although "
                f"frozen: {join_names(changed)}."
            )
        return len(self.before)


def frozen(model: nn.Module, parts: Parts, phase: Phase) -> Mapping[str, Tensor]:
    """What the phase holds still: parameters that do not learn, buffers of parts that do not learn, and
    statistics that are not collected."""
    learning = phase.learning(parts)
    still: dict[str, Tensor] = {n: value for n, value in model.named_parameters() if n not in learning}
    moving = [p for name, how in phase.learn.items() if how.statistics for p in parts[name].modules]
    for name, value in model.named_buffers():
        if not any(name.startswith(f"{path}.") for path in moving):
            still[name] = value
    return still


def _same(one: Tensor, other: Tensor) -> bool:
    # NaN that was there before is no change
    return torch.equal(one, other) or (one.is_floating_point() and torch.allclose(one, other, 0, 0, equal_nan=True))
