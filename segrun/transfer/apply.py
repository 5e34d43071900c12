"""Carries a phase out on a model, and verifies afterwards that the frozen tensors did not change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from segrun.errors import SegrunError, join_names
from segrun.models.parts import NORMS, Parts
from segrun.transfer.plan import PartSettings, Phase


def set_trainable(model: nn.Module, parts: Parts, phase: Phase) -> dict[str, PartSettings]:
    """Set `requires_grad` of each parameter as the phase asks for, and clear all gradients.

    Returns:
        The settings of each trained parameter, by its name.
    """
    trained = phase.trainable_parameters(parts)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
        parameter.grad = None
    return trained


def set_modes(model: nn.Module, parts: Parts, phase: Phase) -> None:
    """Put trained parts in training mode, and frozen parts and norms with frozen statistics in eval mode.

    It must be called again after each evaluation, which puts everything in eval mode; no module's own `train()` is
    overridden.
    """
    model.train()
    for part in parts.values():
        settings = phase.trainable.get(part.name)
        for path in part.modules:
            module = model.get_submodule(path)
            if settings is None:
                module.eval()
            elif not settings.statistics:
                _freeze_statistics(module)


def _freeze_statistics(module: nn.Module) -> None:
    for inner in module.modules():
        if isinstance(inner, NORMS):
            inner.eval()


class FreezeAudit:
    """Keeps a copy of the tensors that a phase freezes, parameters and buffers, to compare them bit for bit.

    Args:
        model: The model, before the first step of the phase.
        parts: Its parts.
        phase: The phase.
    """

    def __init__(self, model: nn.Module, parts: Parts, phase: Phase) -> None:
        self.phase = phase.name
        self.tensors = partial(frozen_tensors, model, parts, phase)
        self.before = {name: value.detach().cpu().clone() for name, value in self.tensors().items()}

    def check(self) -> int:
        """Compare the frozen tensors with their copies.

        Returns:
            The number of frozen tensors.

        Raises:
            SegrunError: Some have changed; their names are given.
        """
        tensors = self.tensors()
        changed = [name for name, value in self.before.items() if not _is_same(value, tensors[name].detach().cpu())]
        if changed:
            raise SegrunError(
                f"the freeze audit failed: {len(changed)} tensors changed in phase {self.phase!r} although "
                f"frozen: {join_names(changed)}."
            )
        return len(self.before)


def frozen_tensors(model: nn.Module, parts: Parts, phase: Phase) -> Mapping[str, Tensor]:
    """The tensors that the phase freezes, by name.

    These are parameters that are not trained, buffers of parts that are not trained, and norm statistics that are not
    collected.
    """
    trained = phase.trainable_parameters(parts)
    frozen: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if name not in trained}
    collecting: list[str] = []  # paths of the modules whose buffers may change
    for part_name, settings in phase.trainable.items():
        if settings.statistics:
            collecting.extend(parts[part_name].modules)
    for name, value in model.named_buffers():
        if not any(name.startswith(f"{path}.") for path in collecting):
            frozen[name] = value
    return frozen


def _is_same(before: Tensor, after: Tensor) -> bool:
    if torch.equal(before, after):
        return True
    # a NaN that was there before is no change
    return before.is_floating_point() and torch.allclose(before, after, 0, 0, equal_nan=True)
