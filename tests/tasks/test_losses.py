"""Every loss against a few lines of float64, its class weights, its parts, and targets without a label."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.tasks.losses import CrossEntropy, Focal, Loss, Lovasz, Sum, Tversky, class_weights
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


def weighed(loss: Loss, counts: Tensor = COUNTS) -> Loss:
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


def tversky(logits: Tensor, target: Tensor, alpha: float, beta: float, weights: list[float]) -> float:
    probability, label = pixels(logits, target)
    losses, total = 0.0, 0.0
    for c in set(label.tolist()):
        tp = probability[label == c, c].sum()
        fp = probability[label != c, c].sum()
        fn = (1 - probability[label == c, c]).sum()
        losses += weights[c] * (1 - tp / (tp + alpha * fp + beta * fn))
        total += weights[c]
    return float(losses / total)


def lovasz(logits: Tensor, target: Tensor, weights: list[float]) -> float:
    """The Lovász extension as defined: errors in falling order times the rise of the Jaccard loss."""
    probability, label = pixels(logits, target)
    losses, total = 0.0, 0.0
    for c in set(label.tolist()):
        truth = label == c
        errors = np.where(truth, 1 - probability[:, c], probability[:, c])
        wrong: set[int] = set()
        before, loss = 0.0, 0.0
        for i in np.argsort(-errors, kind="stable").tolist():
            wrong.add(i)
            missed = sum(bool(truth[j]) for j in wrong)
            jaccard = 1 - (truth.sum() - missed) / (truth.sum() + len(wrong) - missed)
            loss += errors[i] * (jaccard - before)
            before = jaccard
        losses += weights[c] * loss
        total += weights[c]
    return float(losses / total)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs_mean(weights: list[float] | None, smoothing: float) -> None:
    logits, target = example()
    expected = F.cross_entropy(
        logits.double(), target.long(), None if weights is None else torch.tensor(weights).double(),
        ignore_index=VOID, label_smoothing=smoothing,
    )  # fmt: skip
    assert value(weighed(CrossEntropy(weights, smoothing)), logits, target) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_its_formula(weights: list[float] | None, gamma: float) -> None:
    logits, target = example()
    probability, label = pixels(logits, target)
    right = probability[np.arange(len(label)), label]
    weight = np.array(weights or [1.0] * 4)[label]
    expected = (weight * (1 - right) ** gamma * -np.log(right)).sum() / weight.sum()
    assert value(weighed(Focal(gamma, weights)), logits, target) == pytest.approx(expected, rel=1e-4)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, target = example()
    assert value(Focal(0.0), logits, target) == pytest.approx(value(CrossEntropy(), logits, target), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7), (1.0, 1.0)])
def test_tversky_is_its_formula(weights: list[float] | None, alpha: float, beta: float) -> None:
    logits, target = example()
    expected = tversky(logits, target, alpha, beta, weights or [1.0] * 4)
    assert value(weighed(Tversky(alpha, beta, weights)), logits, target) == pytest.approx(expected, rel=1e-5)


def test_dice_of_certain_predictions_is_that_of_sets() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, 1, VOID]]], dtype=torch.uint8)
    guess = F.one_hot(torch.tensor([[[0, 1, 1, 1, 0, 1]]]), 2).movedim(-1, 1) * 100.0
    assert value(Tversky(0.5, 0.5), guess, truth) == pytest.approx(1 - (2 * 1 / 4 + 2 * 2 / 6) / 2)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("seed", [0, 1])
def test_lovasz_is_its_definition(weights: list[float] | None, seed: int) -> None:
    logits, target = example(seed)
    expected = lovasz(logits, target, weights or [1.0] * 4)
    assert value(weighed(Lovasz(weights)), logits, target) == pytest.approx(expected, rel=1e-5)


def test_lovasz_of_certain_predictions_is_the_jaccard_loss() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, 1, VOID]]], dtype=torch.uint8)
    guess = F.one_hot(torch.tensor([[[0, 1, 1, 1, 0, 1]]]), 2).movedim(-1, 1) * 100.0
    assert value(Lovasz(), guess, truth) == pytest.approx(1 - (1 / 3 + 2 / 4) / 2)


def test_a_sum_is_each_loss_times_its_coefficient() -> None:
    logits, target = example()
    losses = CrossEntropy(label_smoothing=0.1), Tversky(0.5, 0.5), Lovasz()
    both = Sum(losses, [1.0, 0.5, 2.0])
    expected = sum(c * value(loss, logits, target) for c, loss in zip((1.0, 0.5, 2.0), losses, strict=True))
    assert value(both, logits, target) == pytest.approx(expected, rel=1e-5)
    assert both(logits, target).shape == (3,)


def test_the_class_weights_of_a_sum_are_those_of_all_its_losses() -> None:
    logits, target = example()
    both = weighed(Sum([CrossEntropy(), Tversky(0.5, 0.5)], [1.0, 1.0], WEIGHTS))
    parts = [weighed(CrossEntropy(WEIGHTS)), weighed(Tversky(0.5, 0.5, WEIGHTS))]
    expected = sum(value(part, logits, target) for part in parts)
    assert value(both, logits, target) == pytest.approx(expected, rel=1e-5)


def test_a_sum_needs_a_coefficient_for_each_loss() -> None:
    with pytest.raises(RequestError, match=r"loss\.coefficients: 1 numbers for 2 losses"):
        Sum([CrossEntropy(), Lovasz()], [1.0])


@pytest.mark.parametrize("name", MAKERS)
def test_every_loss_honours_class_weights(name: str) -> None:
    logits, target = example()
    plain, ones, uneven = (value(weighed(MAKERS[name](w)), logits, target) for w in (None, [1.0] * 4, WEIGHTS))
    assert ones == pytest.approx(plain, rel=1e-5)
    assert uneven != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("name", MAKERS)
def test_the_scale_of_class_weights_changes_nothing(name: str) -> None:
    logits, target = example()
    one, ten = (value(weighed(MAKERS[name]([w * s for w in WEIGHTS])), logits, target) for s in (1, 10))
    assert one == pytest.approx(ten, rel=1e-4)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_target_all_void_gives_0_and_no_gradient(name: str, weights: list[float] | None) -> None:
    loss = weighed(MAKERS[name](weights))
    logits = example()[0].requires_grad_()
    target = torch.full((3, 6, 7), VOID, dtype=torch.uint8)
    sums = loss(logits, target)
    sums.sum().backward()
    assert not sums.any() and not loss.normalizers(target).any()
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", MAKERS)
def test_void_pixels_have_no_say_and_no_gradient(name: str) -> None:
    loss, (logits, target) = MAKERS[name](), example()
    void = (target == VOID)[:, None]
    changed = torch.where(void, torch.randn_like(logits) * 9, logits).requires_grad_()
    assert value(loss, changed, target) == pytest.approx(value(loss, logits, target), rel=1e-5)
    loss(changed, target).sum().backward()
    assert changed.grad is not None
    assert not changed.grad[void.expand_as(changed)].any() and changed.grad.any()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_stay_finite_where_the_model_is_certain(name: str, sign: int) -> None:
    _, target = example()
    certain = F.one_hot(target.long() % VOID, 4).movedim(-1, 1) * 500.0 * sign
    logits = certain.requires_grad_()
    MAKERS[name]()(logits, target).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", MAKERS)
def test_following_the_gradient_lowers_the_loss(name: str) -> None:
    loss, (logits, target) = MAKERS[name](), example()
    moved = logits.clone().requires_grad_()
    loss(moved, target).sum().backward()
    assert moved.grad is not None
    step = moved.detach() - 0.1 * moved.grad / moved.grad.abs().max()
    assert value(loss, step, target) < value(loss, logits, target)


@pytest.mark.parametrize("name", ["cross_entropy", "smoothed", "focal"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_parts_of_a_batch_add_up_to_the_whole(name: str, weights: list[float] | None) -> None:
    loss, (logits, target) = weighed(MAKERS[name](weights)), example(batch=5)
    target[0] = VOID  # a part of its own without a label
    parts = list(zip(logits.split([1, 2, 2]), target.split([1, 2, 2]), strict=True))
    sums = sum(loss(part, truth) for part, truth in parts)
    weight = sum(loss.normalizers(truth) for _, truth in parts)
    assert torch.allclose(sums, loss(logits, target), rtol=1e-5)
    assert torch.allclose(weight, loss.normalizers(target))


@pytest.mark.parametrize("name", ["dice", "tversky", "lovasz"])
def test_region_losses_are_weighed_by_their_labelled_images(name: str) -> None:
    loss, (logits, target) = MAKERS[name](), example()
    target[1] = VOID
    assert loss.normalizers(target).tolist() == [2]
    labelled = target[[0, 2]]
    assert value(loss, logits, target) == pytest.approx(value(loss, logits[[0, 2]], labelled), rel=1e-5)


def test_inverse_weights_are_the_inverse_shares() -> None:
    expected = [1 / (4 * share) for share in (0.6, 0.3, 0.09, 0.01)]
    assert class_weights("inverse", COUNTS).tolist() == pytest.approx(expected)


def test_median_weights_are_the_median_share_over_the_share() -> None:
    assert class_weights("median", COUNTS).tolist() == pytest.approx([0.195 / f for f in (0.6, 0.3, 0.09, 0.01)])
    assert class_weights("median", COUNTS[:3]).tolist() == pytest.approx([0.5, 1, 300 / 90])


def test_log_weights_are_their_formula() -> None:
    expected = [1 / math.log(1.1 + share) for share in (0.6, 0.3, 0.09, 0.01)]
    assert class_weights("log", COUNTS).tolist() == pytest.approx(expected)


def test_effective_weights_are_their_formula_with_mean_1() -> None:
    beta = 1 - 1 / 1000
    raw = [(1 - beta) / (1 - beta**n) for n in (600, 300, 90, 10)]
    expected = [w / (sum(raw) / 4) for w in raw]
    assert class_weights("effective", COUNTS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("rule", ["inverse", "median", "log", "effective"])
def test_a_class_that_is_not_there_weighs_nothing_and_changes_no_other(rule: str) -> None:
    found = class_weights(rule, torch.tensor([600, 0, 300, 100]))
    there = class_weights(rule, torch.tensor([600, 300, 100]))
    assert found[1] == 0 and found.isfinite().all()
    assert torch.allclose(found[[0, 2, 3]] / found[0], there / there[0])


@pytest.mark.parametrize("rule", ["inverse", "median", "log", "effective"])
def test_rules_stay_finite_over_a_billion_pixels(rule: str) -> None:
    found = class_weights(rule, torch.tensor([10**9, 1, 10**6]))
    assert found.isfinite().all() and (found > 0).all()
    assert found[1] > found[2] > found[0]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, 1.0, 1.0, -1.0], []])
def test_weights_of_the_wrong_length_or_below_0_are_refused(name: str, weights: list[float]) -> None:
    with pytest.raises(RequestError, match=rf"loss\.class_weights: {len(weights)} numbers \(≥ 0\) for 4 classes"):
        MAKERS[name](weights).set_class_weights(COUNTS)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(RequestError, match=r"loss\.class_weights=square: choose null, inverse"):
        CrossEntropy("square").set_class_weights(COUNTS)


@pytest.mark.parametrize("name", MAKERS)
def test_shares_are_what_the_classes_count(name: str) -> None:
    plain, weighed, even = MAKERS[name](), MAKERS[name](WEIGHTS), MAKERS[name]("inverse")
    for loss in (plain, weighed, even):
        loss.set_class_weights(COUNTS)
    torch.testing.assert_close(plain.shares(COUNTS), COUNTS / 1000)
    counted = COUNTS * torch.tensor(WEIGHTS)
    torch.testing.assert_close(weighed.shares(COUNTS), counted / counted.sum())
    torch.testing.assert_close(even.shares(COUNTS), torch.full((4,), 0.25))
    torch.testing.assert_close(plain.shares(torch.zeros(4)), torch.full((4,), 0.25))
