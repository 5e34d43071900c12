"""Optimizers, and the parameter groups of a phase."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

import torch
from annotated_types import MaxLen, MinLen
from torch import Tensor, nn

from segrun.errors import RequestError
from segrun.models.parts import Parts
from segrun.ranges import FractionBelowOne, LearningRate, NonNegativeFloat
from segrun.transfer.plan import PartSettings, Phase

Group = dict[str, Any]  # a parameter group as torch takes it, with the keys `names` and `lr_multiplier` besides
State = dict[str, dict[str, Any]]  # an optimizer's state by parameter name
Betas = Annotated[Sequence[FractionBelowOne], MinLen(2), MaxLen(2)]


@dataclass(frozen=True)
class OptimizerFactory(ABC):
    """Settings of an optimizer. Called with parameter groups, it builds the optimizer of a phase.

    Attributes:
        lr: Base learning rate. A schedule and the LR multipliers of the plan are applied to it.
        weight_decay: Base weight decay.
    """

    lr: LearningRate
    weight_decay: NonNegativeFloat

    @abstractmethod
    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The optimizer for these groups, each with its own `lr` and `weight_decay`."""


@dataclass(frozen=True)
class AdamW(OptimizerFactory):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019).

    Attributes:
        betas: Decay of the averages of the gradient and of its square.
    """

    betas: Betas

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, betas=(self.betas[0], self.betas[1]))


@dataclass(frozen=True)
class Adam(OptimizerFactory):
    """Adam (Kingma & Ba, ICLR 2015), with weight decay as L2 in the gradient.

    Attributes:
        betas: Decay of the averages of the gradient and of its square.
    """

    betas: Betas

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, betas=(self.betas[0], self.betas[1]))


@dataclass(frozen=True)
class SGD(OptimizerFactory):
    """Stochastic gradient descent with momentum.

    Attributes:
        momentum: Decay of the average of the gradient; 0: none.
        nesterov: Whether to use Nesterov momentum.
    """

    momentum: FractionBelowOne
    nesterov: bool

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise RequestError("optimizer.nesterov=true needs optimizer.momentum above 0. Set one, such as 0.9.")

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov)


def parameter_groups(
    model: nn.Module,
    trained: Mapping[str, PartSettings],
    factory: OptimizerFactory,
    decay_1d: bool,
    group_per_tensor: bool = False,
) -> list[Group]:
    """Put each trained parameter in exactly one group, with others of the same LR multiplier and weight decay.

    Args:
        model: The model.
        trained: Settings of each trained parameter by name.
        factory: Gives the base learning rate and weight decay.
        decay_1d: Whether one-dimensional parameters (biases, norms) have weight decay.
        group_per_tensor: Whether each parameter has a group of its own, as `set_lr_multipliers` needs.

    Returns:
        Groups in the order of their first parameter. Besides torch's keys they hold `lr_multiplier`, for the loop, and
        `names`, for checkpoints.
    """
    groups: dict[tuple[float, float, str], Group] = {}
    for name, parameter in model.named_parameters():
        if name not in trained:
            continue
        settings = trained[name]
        has_decay = decay_1d or parameter.ndim > 1
        decay = factory.weight_decay * settings.decay_multiplier if has_decay else 0.0
        key = (settings.lr_multiplier, decay, name if group_per_tensor else "")
        if key not in groups:
            groups[key] = _group(settings.lr_multiplier, decay, factory.lr)
        groups[key]["params"].append(parameter)
        groups[key]["names"].append(name)
    return list(groups.values())


def balance_group(parameters: Sequence[nn.Parameter], factory: OptimizerFactory) -> list[Group]:
    """The group of the balance's own parameters: base learning rate, no weight decay. Empty where it has none."""
    if not parameters:
        return []
    group = _group(1.0, 0.0, factory.lr)
    group["params"] = list(parameters)
    group["names"] = [f"balance.{index}" for index in range(len(parameters))]
    return [group]


def _group(lr_multiplier: float, weight_decay: float, base_lr: float) -> Group:
    return {
        "params": [],
        "names": [],
        "lr_multiplier": lr_multiplier,
        "weight_decay": weight_decay,
        "lr": base_lr * lr_multiplier,
    }


def set_lr_multipliers(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, PartSettings], multipliers: Mapping[str, float]
) -> None:
    """Apply an LR multiplier per tensor, on top of those of the parts.

    Args:
        optimizer: Has a group per tensor.
        trained: Settings of each trained parameter by name.
        multipliers: LR multipliers by parameter name; the other parameters keep theirs.
    """
    for group in optimizer.param_groups:
        name = group["names"][0]
        if name in multipliers:
            group["lr_multiplier"] = trained[name].lr_multiplier * multipliers[name]


def lr_by_part(phase: Phase, parts: Parts, base_lr: float, multipliers: Mapping[str, float]) -> dict[str, float]:
    """The learning rate of each trained part; where it is measured per tensor, the mean over the part's tensors.

    Args:
        phase: The phase.
        parts: The parts of the model.
        base_lr: Base learning rate, with the schedule applied.
        multipliers: LR multipliers by parameter name, where the phase measures them.
    """
    rates: dict[str, float] = {}
    for part_name, settings in phase.trainable.items():
        mean_multiplier = 1.0
        if phase.lr_multipliers is not None:
            names = [p.name for p in parts[part_name].parameters if p.kind in settings.kinds]
            mean_multiplier = fmean(multipliers.get(name, 1.0) for name in names)
        rates[part_name] = base_lr * settings.lr_multiplier * mean_multiplier
    return rates


def named_state(optimizer: torch.optim.Optimizer) -> State:
    """The optimizer's state by parameter name, which does not depend on the groups."""
    state: State = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if parameter in optimizer.state:
                state[name] = dict(optimizer.state[parameter])
    return state


def restore_state(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Give the parameters that were trained before their state back. The others start without one.

    Args:
        optimizer: Its groups may differ from those of the optimizer whose state is restored.
        state: What `named_state` returned; it is copied.
    """
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in state:
                optimizer.state[parameter] = {
                    key: _copied(value, parameter.device) for key, value in state[name].items()
                }


def _copied(value: Any, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value
    # torch chooses where step counts are, which are scalars; everything else is on its parameter's device
    return value.clone() if value.ndim == 0 else value.to(device, copy=True)
