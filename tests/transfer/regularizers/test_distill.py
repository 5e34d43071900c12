"""Distillation: value and gradient against a few lines of independent computation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from segrun.models.segmenter import Output, Segmenter
from segrun.transfer.regularizers.distill import Distill
from tests.transfer.regularizers.tiny import IMAGES, assert_same_with_gradients, move, tiny_model


@pytest.fixture
def model() -> Segmenter:
    return tiny_model()


def no_preview(count: int) -> Iterator[tuple[Tensor, Callable[[Output], Tensor]]]:
    raise AssertionError("distillation needs no batches")


def test_distillation_is_the_divergence_from_the_softened_mask_of_the_teacher(model: Segmenter) -> None:
    regularizer, teacher = Distill(0.5, 2.0, False), copy.deepcopy(model)
    memory = regularizer.prepare_memory(model, no_preview)
    start = {name: torch.zeros_like(value) for name, value in memory.items()}
    move(model)
    scores = model(IMAGES).tasks["mask"].detach().requires_grad_()
    value = regularizer.build_penalty(model, start, memory)(IMAGES, Output([], {"mask": scores}))
    now, then = ((s.detach() / 2).exp().numpy() for s in (scores, teacher(IMAGES).tasks["mask"]))
    now, then = now / now.sum(1, keepdims=True), then / then.sum(1, keepdims=True)
    pixels = 3 * 6 * 8
    assert value.item() == pytest.approx(0.5 * 4 * (then * np.log(then / now)).sum() / pixels, rel=1e-5)
    (gradient,) = torch.autograd.grad(value, scores)
    torch.testing.assert_close(gradient, torch.from_numpy(0.5 * 2 * (now - then) / pixels), rtol=1e-4, atol=1e-8)


def test_distillation_of_features_is_their_distance_in_units_of_the_teachers_variance(model: Segmenter) -> None:
    regularizer, teacher = Distill(0.5, 2.0, True), copy.deepcopy(model)
    memory = regularizer.prepare_memory(model, no_preview)
    move(model)
    output = model(IMAGES)
    expected = torch.zeros((), dtype=torch.float64)
    for now, then in zip(output.features, teacher(IMAGES).features, strict=True):
        then = then.detach()
        expected = expected + 0.5 * (now - then).square().mean() / float(np.var(then.numpy(), ddof=1))
    assert_same_with_gradients(model, regularizer.build_penalty(model, {}, memory)(IMAGES, output), expected)
