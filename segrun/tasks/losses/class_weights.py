"""Weights of classes in a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.ranges import NonEmpty, NonNegativeFloat
from segrun.types import VOID

ClassWeights = Literal["inverse", "median", "log", "effective"] | Annotated[Sequence[NonNegativeFloat], NonEmpty]


def compute_class_weights(weighting: ClassWeights, pixels: Tensor) -> Tensor:
    """The weight of each class in the loss.

    f is the share of a class among the labelled pixels. A class without pixels gets the weight 0 by each rule.

    - inverse: 1/f · 1/C
    - median: median f / f over the classes that are present (Eigen and Fergus, ICCV 2015)
    - log: 1/ln(1.1 + f)
    - effective: (1 − β)/(1 − β^n) with β = 1 − 1/N for N labelled pixels in total, scaled to mean 1 (Cui et al.,
      CVPR 2019)

    Args:
        weighting: A rule, or the weights themselves.
        pixels: (C,) labelled pixels of each class.

    Returns:
        (C,) float32.

    Raises:
        RequestError: A list of another length.
    """
    counts = pixels.double()
    if not isinstance(weighting, str):
        check_length(weighting, len(counts))
        return torch.tensor(list(weighting), dtype=torch.float)
    shares = counts / counts.sum().clamp(min=1)
    present = counts > 0
    if weighting == "inverse":
        weights = 1 / shares.clamp(min=1e-12) / len(counts)
    elif weighting == "median":
        weights = shares[present].quantile(0.5) / shares.clamp(min=1e-12)
    elif weighting == "log":
        weights = 1 / torch.log(1.1 + shares)
    else:
        weights = _effective(counts, present)
    return (weights * present).float()


def _effective(counts: Tensor, present: Tensor) -> Tensor:
    one_minus_beta = 1 / counts.sum().clamp(min=2)
    weights = one_minus_beta / -torch.expm1(counts.clamp(min=1) * torch.log1p(-one_minus_beta))
    return weights / weights[present].mean()


def check_length(weighting: ClassWeights, classes: int) -> None:
    """Raises RequestError for a list of class weights of another length."""
    if not isinstance(weighting, str) and len(weighting) != classes:
        raise RequestError(
            f"loss.class_weights: {len(weighting)} numbers for {classes} classes. Give one number per class."
        )


def pixel_weights(target: Tensor, class_weights: Tensor | None) -> Tensor:
    """(B, H, W): the class weight of each labelled pixel (1 if there are none), 0 at void."""
    valid = target != VOID
    if class_weights is None:
        return valid.float()
    return class_weights.to(target.device)[target.long() * valid] * valid
