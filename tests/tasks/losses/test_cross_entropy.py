"""Cross-entropy against torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.types import VOID
from tests.tasks.losses.examples import WEIGHTS, example, value, weighted


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs_mean(weights: list[float] | None, smoothing: float) -> None:
    logits, target = example()
    expected = F.cross_entropy(
        logits.double(), target.long(), None if weights is None else torch.tensor(weights).double(),
        ignore_index=VOID, label_smoothing=smoothing,
    )  # fmt: skip
    assert value(weighted(CrossEntropy(weights, smoothing)), logits, target) == pytest.approx(float(expected), rel=1e-5)
