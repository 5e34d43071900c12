"""Class weights: each rule against its formula, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.tasks.losses.class_weights import compute_class_weights
from tests.tasks.losses.examples import COUNTS, MAKERS, WEIGHTS

LOSSES = ["cross_entropy", "cross_entropy_dice", "dice", "focal", "focal_tversky", "lovasz", "tversky"]


def test_inverse_weights_are_the_inverse_shares() -> None:
    expected = [1 / (4 * share) for share in (0.6, 0.3, 0.09, 0.01)]
    assert compute_class_weights("inverse", COUNTS).tolist() == pytest.approx(expected)


def test_median_weights_are_the_median_share_over_the_share() -> None:
    assert compute_class_weights("median", COUNTS).tolist() == pytest.approx(
        [0.195 / f for f in (0.6, 0.3, 0.09, 0.01)]
    )
    assert compute_class_weights("median", COUNTS[:3]).tolist() == pytest.approx([0.5, 1, 300 / 90])


def test_log_weights_are_their_formula() -> None:
    expected = [1 / math.log(1.1 + share) for share in (0.6, 0.3, 0.09, 0.01)]
    assert compute_class_weights("log", COUNTS).tolist() == pytest.approx(expected)


def test_effective_weights_are_their_formula_with_mean_1() -> None:
    beta = 1 - 1 / 1000
    raw = [(1 - beta) / (1 - beta**n) for n in (600, 300, 90, 10)]
    expected = [w / (sum(raw) / 4) for w in raw]
    assert compute_class_weights("effective", COUNTS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("rule", ["inverse", "median", "log", "effective"])
def test_an_absent_class_weighs_nothing_and_changes_no_other(rule: str) -> None:
    found = compute_class_weights(rule, torch.tensor([600, 0, 300, 100]))
    without = compute_class_weights(rule, torch.tensor([600, 300, 100]))
    assert found[1] == 0 and found.isfinite().all()
    assert torch.allclose(found[[0, 2, 3]] / found[0], without / without[0])


@pytest.mark.parametrize("rule", ["inverse", "median", "log", "effective"])
def test_rules_stay_finite_over_a_billion_pixels(rule: str) -> None:
    found = compute_class_weights(rule, torch.tensor([10**9, 1, 10**6]))
    assert found.isfinite().all() and (found > 0).all()
    assert found[1] > found[2] > found[0]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("weights", [[1.0, 2.0], []])
def test_weights_of_the_wrong_length_are_refused_with_and_without_counts(name: str, weights: list[float]) -> None:
    loss = MAKERS[name](weights)
    reason = rf"loss\.class_weights: {len(weights)} numbers for 4 classes"
    with pytest.raises(RequestError, match=reason):
        loss.set_class_weights(COUNTS)
    with pytest.raises(RequestError, match=reason):
        loss.check_class_count(4)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("weights", [None, "inverse", [1.0, 0.0, 2.0, 3.0]])
def test_weights_that_fit_the_classes_pass(name: str, weights: Any) -> None:
    MAKERS[name](weights).check_class_count(4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", ["square", [1.0, 1.0, 1.0, -1.0], [], [1.0, float("nan")], 3])
def test_unknown_rules_and_numbers_below_0_are_refused(name: str, weights: Any) -> None:
    settings = compose("train", [f"loss={name}"])["loss"]
    with pytest.raises(
        RequestError, match=r"loss\.class_weights=.*: must be one of inverse, median, log, effective, or"
    ):
        build({**settings, "class_weights": weights}, "loss")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("cross_entropy", "label_smoothing", 1.0),
        ("cross_entropy", "label_smoothing", -0.1),
        ("focal", "gamma", -1.0),
        ("tversky", "alpha", -0.1),
        ("tversky", "beta", float("inf")),
        ("cross_entropy_dice", "coefficients", [1.0, -1.0]),
        ("cross_entropy_dice", "coefficients", []),
        ("cross_entropy_dice", "losses", []),
    ],
)
def test_settings_out_of_range_are_refused(name: str, key: str, value: Any) -> None:
    settings = compose("train", [f"loss={name}"])["loss"]
    with pytest.raises(RequestError, match=rf"loss\.{key}=.*: must be "):
        build({**settings, key: value}, "loss")


@pytest.mark.parametrize("name", MAKERS)
def test_the_class_prior_is_what_the_classes_count(name: str) -> None:
    plain, weighted, even = MAKERS[name](), MAKERS[name](WEIGHTS), MAKERS[name]("inverse")
    for loss in (plain, weighted, even):
        loss.set_class_weights(COUNTS)
    torch.testing.assert_close(plain.class_prior(COUNTS), COUNTS / 1000)
    counted = COUNTS * torch.tensor(WEIGHTS)
    torch.testing.assert_close(weighted.class_prior(COUNTS), counted / counted.sum())
    torch.testing.assert_close(even.class_prior(COUNTS), torch.full((4,), 0.25))
    torch.testing.assert_close(plain.class_prior(torch.zeros(4)), torch.full((4,), 0.25))
