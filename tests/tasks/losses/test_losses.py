"""What holds for every loss: class weights, void, gradients, and batches in parts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segrun.types import VOID
from tests.tasks.losses.examples import MAKERS, WEIGHTS, example, value, weighted


@pytest.mark.parametrize("name", MAKERS)
def test_every_loss_honours_class_weights(name: str) -> None:
    logits, target = example()
    plain, ones, uneven = (value(weighted(MAKERS[name](w)), logits, target) for w in (None, [1.0] * 4, WEIGHTS))
    assert ones == pytest.approx(plain, rel=1e-5)
    assert uneven != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("name", MAKERS)
def test_the_scale_of_class_weights_changes_nothing(name: str) -> None:
    logits, target = example()
    one, ten = (value(weighted(MAKERS[name]([w * s for w in WEIGHTS])), logits, target) for s in (1, 10))
    assert one == pytest.approx(ten, rel=1e-4)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_target_all_void_gives_0_and_no_gradient(name: str, weights: list[float] | None) -> None:
    loss = weighted(MAKERS[name](weights))
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
    loss, (logits, target) = weighted(MAKERS[name](weights)), example(batch=5)
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
