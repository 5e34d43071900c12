"""Tasks, every balance, and gradients of several tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from segrun.tasks.balance.balance import Balance
from segrun.tasks.balance.dwa import DWA
from segrun.tasks.balance.fixed import Fixed
from segrun.tasks.balance.gradnorm import GradNorm
from segrun.tasks.balance.pcgrad import PCGrad
from segrun.tasks.balance.uncertainty import Uncertainty

WEIGHTS = {"mask": 1.0, "boundary": 0.5, "depth": 2.0}
REGRESSION = {"mask": False, "boundary": False, "depth": True}
MAKERS: dict[str, Callable[[], Balance]] = {
    "fixed": Fixed,
    "uncertainty": Uncertainty,
    "dwa": lambda: DWA(2.0),
    "gradnorm": lambda: GradNorm(1.5, 0.025),
    "pcgrad": PCGrad,
}


def started(balance: Balance, weights: Mapping[str, float] = WEIGHTS) -> Balance:
    balance.start({name: REGRESSION[name] for name in weights}, weights, torch.device("cpu"))
    return balance


def numbers(*values: float) -> dict[str, float]:
    return dict(zip(WEIGHTS, values, strict=True))


def tensors(*values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in numbers(*values).items()}


def split_gradients(vectors: np.ndarray) -> dict[str, list[Tensor]]:
    """The gradient (24,) of each task as those of three tensors: (3, 4, 1, 1), (7,) and (5,)."""
    return {
        name: [piece.reshape(shape) for piece, shape in zip(torch.tensor(v).split([12, 7, 5]), SHAPES, strict=True)]
        for name, v in zip(WEIGHTS, vectors, strict=True)
    }


SHAPES = [(3, 4, 1, 1), (7,), (5,)]
