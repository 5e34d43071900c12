"""Optimizers, and the parameter groups that a phase makes of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from segrun.transfer.plan import PartSettings

Group = dict[str, Any]


class OptimizerFactory(Protocol):
    """Holds the base rate and decay; called with groups it makes torch's optimizer."""

    lr: float
    weight_decay: float

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer: ...


@dataclass(frozen=True)
class AdamW:
    """Loshchilov & Hutter, ICLR 2019."""

    lr: float
    weight_decay: float
    betas: Sequence[float]

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, betas=(self.betas[0], self.betas[1]))


@dataclass(frozen=True)
class Adam:
    """Kingma & Ba, ICLR 2015; weight decay as L2 in the gradient."""

    lr: float
    weight_decay: float
    betas: Sequence[float]

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, betas=(self.betas[0], self.betas[1]))


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool

    def __call__(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov)


def grouped(
    model: nn.Module,
    learning: Mapping[str, PartSettings],
    factory: OptimizerFactory,
    decay_1d: bool,
    apart: bool = False,
) -> list[Group]:
    """Every learning parameter in exactly one group; a group is one (rate scale, decay), or one parameter (`apart`).

    `lr_scale` stays in the group for the loop, `names` for checkpoints.
    """
    groups: dict[tuple[float, float, str], Group] = {}
    for name, parameter in model.named_parameters():
        if name not in learning:
            continue
        how = learning[name]
        decay = factory.weight_decay * how.decay * (decay_1d or parameter.ndim > 1)
        group = groups.setdefault(
            (how.lr_scale, decay, name if apart else ""),
            {
                "params": [],
                "names": [],
                "lr_scale": how.lr_scale,
                "weight_decay": decay,
                "lr": factory.lr * how.lr_scale,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def set_rates(
    optimizer: torch.optim.Optimizer, learning: Mapping[str, PartSettings], rates: Mapping[str, float]
) -> None:
    """Multiply the scale of each parameter that has a group of its own."""
    for group in optimizer.param_groups:
        (name, *_) = group["names"]
        if name in rates:
            group["lr_scale"] = learning[name].lr_scale * rates[name]


State = dict[str, dict[str, Any]]


def named_state(optimizer: torch.optim.Optimizer) -> State:
    """The optimizer's state by parameter name: it survives a change of groups."""
    return {
        name: dict(optimizer.state[parameter])
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        if parameter in optimizer.state
    }


def restore_state(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Give parameters that go on learning their state back; the others begin anew."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in state:
                optimizer.state[parameter] = {
                    # step counts stay where torch keeps them; all else lies beside its parameter
                    key: value.to(parameter.device, copy=True) if isinstance(value, Tensor) and value.ndim else
                    value.clone() if isinstance(value, Tensor) else value
                    for key, value in state[name].items()
                }  # fmt: skip
