"""Dynamic weight average against the paper in float64."""

from __future__ import annotations

import numpy as np
import pytest

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.tasks.balance.dwa import DWA
from tests.tasks.balance.examples import WEIGHTS, numbers, started, tensors


def test_dwa_over_four_epochs() -> None:
    means = np.array([[1.0, 2.0, 3.0], [0.5, 1.9, 3.3], [0.4, 1.0, 3.3], [0.4, 0.9, 1.0]])
    balance = started(DWA(2.0))
    for t in range(4):
        if t < 2:
            expected = np.ones(3)
        else:
            powers = np.exp(means[t - 1] / means[t - 2] / 2.0)
            expected = 3 * powers / powers.sum()
        assert list(balance.factors.values()) == pytest.approx(expected.tolist())
        total = balance.total(tensors(*means[t]), 1.0).item()
        assert total == pytest.approx((expected * np.array(list(WEIGHTS.values())) * means[t]).sum())
        balance.end_epoch(numbers(*means[t]))


def test_dwa_with_an_epoch_without_a_label() -> None:
    balance = started(DWA(2.0))
    balance.end_epoch(numbers(1.0, 0.0, 1.0))
    balance.end_epoch(numbers(1.0, 4.0, 1.0))
    assert list(balance.factors.values()) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), 1e30])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(RequestError, match=r"balance\.temperature=.*: must be a number above 0"):
        build({"_target_": "segrun.tasks.balance.dwa.DWA", "temperature": temperature}, "balance")
