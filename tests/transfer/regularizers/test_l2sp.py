"""L2-SP against a few lines of independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.models.segmenter import Segmenter
from segrun.transfer.freeze import NoFreeze
from segrun.transfer.regularizers.bss import BSS
from segrun.transfer.regularizers.l2sp import L2SP
from segrun.transfer.strategies.finetune import Finetune
from tests.transfer.regularizers.tiny import (
    BACKBONE_WEIGHTS,
    HEAD_WEIGHTS,
    IMAGES,
    NO_OUTPUT,
    gradients,
    move,
    tiny_model,
    weights_of,
)


@pytest.fixture
def model() -> Segmenter:
    return tiny_model()


def test_l2sp_pulls_weights_alone_toward_the_start_though_the_model_has_moved(model: Segmenter) -> None:
    start = weights_of(model)
    move(model)  # as after a resume
    moved = weights_of(model)
    value = L2SP(0.3, 0.05).build_penalty(model, start, {})(IMAGES, NO_OUTPUT)
    distance = sum(np.square(moved[n].numpy() - start[n].numpy()).sum() for n in BACKBONE_WEIGHTS)
    new = sum(np.square(moved[n].numpy()).sum() for n in HEAD_WEIGHTS)
    assert value.item() == pytest.approx(0.15 * distance + 0.025 * new, rel=1e-12)
    expected = {n: 0.3 * (moved[n] - start[n]) for n in BACKBONE_WEIGHTS} | {n: 0.05 * moved[n] for n in HEAD_WEIGHTS}
    torch.testing.assert_close(gradients(model, value), expected)  # no bias, no norm


def test_l2sp_leaves_out_frozen_weights(model: Segmenter) -> None:
    start = weights_of(model)
    move(model)
    model.backbone.requires_grad_(False)
    value = L2SP(0.3, 0.05).build_penalty(model, start, {})(IMAGES, NO_OUTPUT)
    assert set(gradients_of_learning(model, value)) == set(HEAD_WEIGHTS)
    new = sum(model.get_parameter(n).square().sum().item() for n in HEAD_WEIGHTS)
    assert value.item() == pytest.approx(0.025 * new)


def gradients_of_learning(model: Segmenter, value: Tensor) -> list[str]:
    value.backward()  # type: ignore[no-untyped-call]
    return [name for name, parameter in model.named_parameters() if parameter.grad is not None]


def test_l2sp_is_refused_where_only_biases_or_norms_learn(model: Segmenter) -> None:
    parts = model.parts()
    plan = Finetune(1.0, kinds=["bias", "norm_bias"]).plan(parts, NoFreeze(), 4)
    with pytest.raises(RequestError, match=r"regularizer=l2sp: this plan trains none of the parameters"):
        plan.with_regularizers([L2SP(0.1, 0.01)], parts, 8)
    assert plan.with_regularizers([BSS(1, 1e-3)], parts, 8).phases[0].regularizers
