"""Examples of logits and targets, every loss, and helpers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.tasks.losses.focal import Focal
from segrun.tasks.losses.loss import Loss
from segrun.tasks.losses.lovasz import Lovasz
from segrun.tasks.losses.sum import Sum
from segrun.tasks.losses.tversky import Tversky
from segrun.types import VOID

WEIGHTS = [0.5, 2.0, 1.0, 3.0]
COUNTS = torch.tensor([600, 300, 90, 10])
Maker = Callable[..., Loss]
MAKERS: dict[str, Maker] = {
    "cross_entropy": CrossEntropy,
    "smoothed": lambda w=None: CrossEntropy(w, label_smoothing=0.1),
    "focal": lambda w=None: Focal(2.0, w),
    "dice": lambda w=None: Tversky(0.5, 0.5, w),
    "tversky": lambda w=None: Tversky(0.3, 0.7, w),
    "lovasz": Lovasz,
    "sum": lambda w=None: Sum([CrossEntropy(), Tversky(0.5, 0.5)], [1.0, 0.5], w),
}


def example(seed: int = 0, batch: int = 3) -> tuple[Tensor, Tensor]:
    """Logits, and a target of classes 0 to 2 with void in it; class 3 is absent."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, 4, 6, 7, generator=generator) * 2
    target = torch.randint(3, (batch, 6, 7), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = VOID
    return logits, target.to(torch.uint8)


def weighted(loss: Loss, counts: Tensor = COUNTS) -> Loss:
    loss.set_class_weights(counts)
    return loss


def value(loss: Loss, logits: Tensor, target: Tensor) -> float:
    sums, weights = loss(logits, target), loss.normalizers(target)
    assert sums.shape == weights.shape
    return float((sums / weights).sum().detach())


def pixels(logits: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) probabilities and (N,) labels of the labelled pixels, in float64."""
    probability = logits.double().softmax(1).movedim(1, -1).reshape(-1, logits.shape[1]).numpy()
    label = target.flatten().numpy()
    return probability[label != VOID], label[label != VOID]
