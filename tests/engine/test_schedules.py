"""Learning-rate schedules against their formulas, and one-cycle against torch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from segrun.config.build import build
from segrun.engine.schedules import Constant, Cosine, OneCycle, Poly, Schedule
from segrun.errors import RequestError

ONECYCLE = {
    "_target_": "segrun.engine.schedules.OneCycle",
    "warmup": 0,
    "pct_start": 0.3,
    "div": 25.0,
    "final_div": 1e4,
}
POLY = {"_target_": "segrun.engine.schedules.Poly", "warmup": 0, "floor": 0.0, "power": 0.9}
TRIANGLE = {"_target_": "segrun.engine.schedules.SlantedTriangle", "warmup": 0, "cut": 0.1, "ratio": 32.0}
ALL = [Constant(0), Poly(0, 0.0, 0.9), Poly(0, 0.1, 0.9), Cosine(0, 0.0), Cosine(0, 0.2), OneCycle(0, 0.3, 25.0, 1e4)]


@pytest.mark.parametrize("step", [0, 1, 37, 99])
def test_each_curve_is_its_formula(step: int) -> None:
    t = step / 100
    assert Constant(0)(step, 100) == 1.0
    assert Poly(0, 0.0, 0.9)(step, 100) == pytest.approx((1 - t) ** 0.9)
    assert Poly(0, 0.1, 2.0)(step, 100) == pytest.approx((1 - 0.1) * (1 - t) ** 2 + 0.1)
    assert Cosine(0, 0.0)(step, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi * t)))
    assert Cosine(0, 0.2)(step, 100) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * t)))


def test_curves_reach_their_floor_at_the_end() -> None:
    assert Poly(0, 0.1, 0.9).curve(1.0) == pytest.approx(0.1)
    assert Cosine(0, 0.2).curve(1.0) == pytest.approx(0.2)
    assert OneCycle(0, 0.3, 25.0, 1e4).curve(1.0) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize("schedule", ALL)
def test_a_rate_is_always_above_zero_and_never_above_the_base(schedule: Schedule) -> None:
    assert all(0 < schedule(step, 100) <= 1 for step in range(100))


def test_onecycle_is_torchs_cosine_onecycle() -> None:
    """torch places the peak at pct_start · total − 1 and the end at total − 1; ours are at the shares themselves."""
    total, pct, div, final = 1000, 0.3, 25.0, 1e4
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=total + 1, pct_start=pct, div_factor=div, final_div_factor=final
    )
    ours = OneCycle(0, pct, div, final)
    peak = pct * (total + 1) - 1
    for step in range(total):
        t = step / peak * pct if step <= peak else pct + (step - peak) / (total - peak) * (1 - pct)
        assert ours.curve(t) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        theirs.step()


def test_onecycle_rises_to_the_base_rate_at_pct_start_and_then_falls() -> None:
    rates = [OneCycle(0, 0.3, 25.0, 1e4)(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[30] == pytest.approx(1.0)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 3])
def test_onecycle_without_a_rise_or_a_fall_is_refused(share: float) -> None:
    with pytest.raises(RequestError, match=r"schedule\.pct_start"):
        build({**ONECYCLE, "pct_start": share}, "schedule")
    with pytest.raises(RequestError, match=r"schedule\.pct_start"):
        build({**ONECYCLE, "pct_start": [0.3, share]}, "schedule")


def test_warmup_rises_evenly_to_the_curves_first_rate() -> None:
    schedule = Poly(4, 0.0, 0.9)
    assert [schedule(step, 104) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert schedule(4 + 50, 104) == pytest.approx(0.5**0.9)


def test_a_warmup_takes_a_tenth_of_a_short_run_at_most() -> None:
    assert [Cosine(9, 0.0)(step, 3) for step in range(3)] == pytest.approx([1.0, 0.75, 0.25])
    assert [Constant(9)(step, 20) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        *((POLY, "warmup", value) for value in (-3, 1.5, 1e30, "abc", None, [])),
        *((POLY, "floor", value) for value in (-0.1, 7, float("nan"), "abc")),
        *((POLY, "power", value) for value in (0, -1, float("inf"), 1e30)),
        *((ONECYCLE, "div", value) for value in (0, 0.5, "abc", [], [25.0, 0.5], None)),
        *((ONECYCLE, "final_div", value) for value in (0, 1e30, "abc", [])),
        *((TRIANGLE, "cut", value) for value in (0.0, 1.0, float("nan"))),
        *((TRIANGLE, "ratio", value) for value in (0.9, -1, float("inf"))),
    ],
)
def test_a_setting_outside_its_range_is_refused(config: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(RequestError, match=rf"^schedule\.{key}"):
        build({**config, key: value}, "schedule")


def test_each_curve_has_its_entry_and_further_ones_the_last() -> None:
    schedule = build({**ONECYCLE, "pct_start": [0.9, 0.3], "div": [25, 5]}, "schedule")
    assert [schedule.of(index).pct_start for index in range(3)] == [0.9, 0.3, 0.3]
    assert [schedule.of(index).div for index in range(3)] == [25, 5, 5]
    assert schedule.of(2).final_div == 1e4
