"""DELTA: channel weights, value and gradient against a few lines of independent computation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from segrun.models.segmenter import Output, Segmenter
from segrun.transfer.regularizers.delta import Delta
from tests.transfer.regularizers.tiny import (
    HEAD_WEIGHTS,
    IMAGES,
    assert_same_with_gradients,
    move,
    tiny_model,
    weights_of,
)


@pytest.fixture
def model() -> Segmenter:
    return tiny_model()


PULL = torch.randn(2, 3, 2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))  # two batches
Loss = Callable[[Output], Tensor]


def linear(batch: int) -> Loss:
    return lambda output: (PULL[batch] * output.tasks["mask"]).sum()


def bent(batch: int) -> Loss:
    return lambda output: (PULL[batch] + output.tasks["mask"]).square().sum()


def preview(loss: Callable[[int], Loss], count: int) -> Iterator[tuple[Tensor, Loss]]:
    return ((IMAGES * (1 - 0.5 * batch), loss(batch)) for batch in range(count))


def softened(rises: np.ndarray, temperature: float) -> Tensor:
    powers = np.exp(rises / np.abs(rises).mean() / temperature)
    return torch.from_numpy(powers / powers.sum())


@pytest.mark.parametrize("temperature", [5.0, 0.5])
def test_delta_weighs_channels_by_the_first_order_rise(model: Segmenter, temperature: float) -> None:
    """By hand: the gradient of a linear loss is the head's kernel times the loss's own coefficients."""
    found = Delta(1.0, temperature, 2, exact=False).prepare_memory(model, lambda n: preview(linear, n))
    rises: list[np.ndarray] = [np.zeros(3), np.zeros(5)]
    for batch, (images, _) in enumerate(preview(linear, 2)):
        maps = [m.detach().numpy() for m in model.backbone(model.normalised(images))]
        for level, name in enumerate(HEAD_WEIGHTS):
            kernel = model.get_parameter(name).detach().numpy()[:, :, 0, 0]
            at_full_size = maps[level].repeat(level + 1, 2).repeat(level + 1, 3)
            rises[level] += np.abs(np.einsum("bchw,oc,bohw->c", at_full_size, kernel, PULL[batch].numpy()))
    assert found.keys() == {"0", "1"}
    for level, rise in enumerate(rises):
        expected = softened(rise, temperature)
        torch.testing.assert_close(found[str(level)].double(), expected, rtol=1e-4, atol=1e-7)
        assert found[str(level)].sum().item() == pytest.approx(1, abs=1e-6)
        assert expected.max() > 1.1 * expected.min()


def test_deltas_exact_rise_is_that_of_a_model_without_the_filter(model: Segmenter) -> None:
    falls = 0
    found = Delta(1.0, 0.5, 2, exact=True).prepare_memory(model, lambda n: preview(bent, n))
    for level, name in enumerate(("fine", "coarse")):
        rise = np.zeros(len(model.backbone.get_parameter(f"{name}.weight")))
        for channel in range(len(rise)):
            cut = copy.deepcopy(model)
            for parameter in cut.backbone.get_submodule(name).parameters():
                parameter.data[channel] = 0
            for images, loss in preview(bent, 2):
                rise[channel] += (loss(cut(images)) - loss(model(images))).item()
        torch.testing.assert_close(found[str(level)].double(), softened(rise, 0.5), rtol=1e-3, atol=1e-6)
        falls += int((rise < 0).sum())
    assert falls  # a channel without which the loss is lower counts least


def test_delta_gives_a_map_that_no_head_reads_even_weights(model: Segmenter) -> None:
    model.heads["mask"].coarse.weight.data.zero_()
    for exact in (False, True):
        found = Delta(1.0, 5.0, 1, exact).prepare_memory(model, lambda n: preview(linear, n))
        torch.testing.assert_close(found["1"], torch.full((5,), 0.2))


def test_delta_holds_the_maps_near_those_of_the_start(model: Segmenter) -> None:
    start, first = weights_of(model), copy.deepcopy(model)
    move(model)
    memory = {"0": torch.tensor([0.2, 0.5, 0.3]), "1": torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])}
    penalty = Delta(0.7, 5.0, 1, False).build_penalty(model, start, memory)
    model.train()  # the norms of the copy use the statistics of the start
    output = model(IMAGES)
    maps = first.backbone(first.normalised(IMAGES))
    expected = torch.zeros((), dtype=torch.float64)
    for weights, now, then in zip(memory.values(), output.features, maps, strict=True):
        for channel, weight in enumerate(weights.double()):
            away = (now[:, channel] - then[:, channel].detach()).square().sum((1, 2))  # of each image
            expected = expected + 0.7 * weight * away.mean() / (now.shape[2] * now.shape[3])
    assert_same_with_gradients(model, penalty(IMAGES, output), expected)
