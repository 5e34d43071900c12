"""Terms on features: value and gradient of each against a few lines of independent computation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.models.segmenter import Output, Segmenter
from segrun.transfer.regularizers.features import BSS, Delta, Distill
from tests.transfer.regularizers.test_regularizer import HEAD_WEIGHTS, IMAGES, gradients, move, start_of, tiny


@pytest.fixture
def model() -> Segmenter:
    return tiny()


def same_gradients(model: Segmenter, value: Tensor, expected: Tensor, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(value.double(), expected, rtol=rtol, atol=1e-12)
    found = gradients(model, value)
    assert found and any(g.abs().max() > 0 for g in found.values())
    torch.testing.assert_close(found, gradients(model, expected), rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("k", [1, 3])
def test_bss_is_the_sum_of_the_smallest_squared_singular_values(k: int) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(4, 6, 2, 5))
    u, s, vt = np.linalg.svd(maps.mean((2, 3)), full_matrices=False)
    deep = torch.from_numpy(maps).requires_grad_()
    other = torch.ones(4, 2, 4, 10, requires_grad=True)
    value = BSS(k, 0.5).bind(None, {}, {})(IMAGES, Output([other, deep], {}))  # type: ignore[arg-type]
    assert value.item() == pytest.approx(0.5 * np.square(s[-k:]).sum(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, deep)
    expected = 0.5 * 2 * (u[:, -k:] * s[-k:]) @ vt[-k:] / 10  # each of ten positions has a tenth of the mean
    torch.testing.assert_close(gradient.mean((2, 3)), torch.from_numpy(expected), rtol=1e-4, atol=1e-6)
    assert gradient.amax((2, 3)).equal(gradient.amin((2, 3)))


def test_bss_is_computed_in_single_precision_under_autocast() -> None:
    maps = torch.randn(4, 6, 2, 5).bfloat16()
    term = BSS(2, 1.0).bind(None, {}, {})  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        value = term(IMAGES, Output([maps], {}))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(np.square(np.linalg.svd(maps.float().mean((2, 3)))[1][-2:]).sum(), rel=1e-4)


@pytest.mark.parametrize(("batch", "channels"), [(2, 6), (6, 2), (1, 6)])
def test_bss_needs_more_singular_values_than_it_shrinks(batch: int, channels: int) -> None:
    term = BSS(2, 1e-3).bind(None, {}, {})  # type: ignore[arg-type]
    with pytest.raises(
        RequestError, match=rf"regularizer\.bss\.k=2: .*{min(batch, channels)} singular values.*larger batch"
    ):
        term(IMAGES, Output([torch.rand(batch, channels, 2, 2)], {}))
    assert term(IMAGES, Output([torch.rand(3, 3, 2, 2)], {})).item() > 0


PULL = torch.randn(2, 3, 2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))  # two batches
Loss = Callable[[Output], Tensor]


def linear(batch: int) -> Loss:
    return lambda output: (PULL[batch] * output.tasks["mask"]).sum()


def bent(batch: int) -> Loss:
    return lambda output: (PULL[batch] + output.tasks["mask"]).square().sum()


def probe(loss: Callable[[int], Loss], count: int) -> Iterator[tuple[Tensor, Loss]]:
    return ((IMAGES * (1 - 0.5 * batch), loss(batch)) for batch in range(count))


def softened(rises: np.ndarray, temperature: float) -> Tensor:
    powers = np.exp(rises / np.abs(rises).mean() / temperature)
    return torch.from_numpy(powers / powers.sum())


@pytest.mark.parametrize("temperature", [5.0, 0.5])
def test_delta_weighs_channels_by_the_first_order_rise(model: Segmenter, temperature: float) -> None:
    """By hand: the gradient of a linear loss is the head's kernel times the loss's own coefficients."""
    found = Delta(1.0, temperature, 2, exact=False).remember(model, lambda n: probe(linear, n))
    rises: list[np.ndarray] = [np.zeros(3), np.zeros(5)]
    for batch, (images, _) in enumerate(probe(linear, 2)):
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
    found = Delta(1.0, 0.5, 2, exact=True).remember(model, lambda n: probe(bent, n))
    for level, name in enumerate(("fine", "coarse")):
        rise = np.zeros(len(model.backbone.get_parameter(f"{name}.weight")))
        for channel in range(len(rise)):
            cut = copy.deepcopy(model)
            for parameter in cut.backbone.get_submodule(name).parameters():
                parameter.data[channel] = 0
            for images, loss in probe(bent, 2):
                rise[channel] += (loss(cut(images)) - loss(model(images))).item()
        torch.testing.assert_close(found[str(level)].double(), softened(rise, 0.5), rtol=1e-3, atol=1e-6)
        falls += int((rise < 0).sum())
    assert falls  # what the loss is lower without counts least


def test_delta_gives_a_map_that_no_head_reads_even_weights(model: Segmenter) -> None:
    model.heads["mask"].coarse.weight.data.zero_()
    for exact in (False, True):
        found = Delta(1.0, 5.0, 1, exact).remember(model, lambda n: probe(linear, n))
        torch.testing.assert_close(found["1"], torch.full((5,), 0.2))


def test_delta_holds_the_maps_near_those_of_the_start(model: Segmenter) -> None:
    start, first = start_of(model), copy.deepcopy(model)
    move(model)
    memory = {"0": torch.tensor([0.2, 0.5, 0.3]), "1": torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])}
    term = Delta(0.7, 5.0, 1, False).bind(model, start, memory)
    model.train()  # the copy's norms go by the statistics of the start
    output = model(IMAGES)
    maps = first.backbone(first.normalised(IMAGES))
    expected = torch.zeros((), dtype=torch.float64)
    for weights, now, then in zip(memory.values(), output.features, maps, strict=True):
        for channel, weight in enumerate(weights.double()):
            away = (now[:, channel] - then[:, channel].detach()).square().sum((1, 2))  # of each image
            expected = expected + 0.7 * weight * away.mean() / (now.shape[2] * now.shape[3])
    same_gradients(model, term(IMAGES, output), expected)


def test_distillation_is_the_divergence_from_the_softened_mask_of_the_teacher(model: Segmenter) -> None:
    term, teacher = Distill(0.5, 2.0, False), copy.deepcopy(model)
    memory = term.remember(model, lambda n: probe(linear, n))
    start = {name: torch.zeros_like(value) for name, value in memory.items()}
    move(model)
    scores = model(IMAGES).tasks["mask"].detach().requires_grad_()
    value = term.bind(model, start, memory)(IMAGES, Output([], {"mask": scores}))
    now, then = ((s.detach() / 2).exp().numpy() for s in (scores, teacher(IMAGES).tasks["mask"]))
    now, then = now / now.sum(1, keepdims=True), then / then.sum(1, keepdims=True)
    pixels = 3 * 6 * 8
    assert value.item() == pytest.approx(0.5 * 4 * (then * np.log(then / now)).sum() / pixels, rel=1e-5)
    (gradient,) = torch.autograd.grad(value, scores)
    torch.testing.assert_close(gradient, torch.from_numpy(0.5 * 2 * (now - then) / pixels), rtol=1e-4, atol=1e-8)


def test_distillation_of_features_is_their_distance_in_units_of_the_teachers_variance(model: Segmenter) -> None:
    term, teacher = Distill(0.5, 2.0, True), copy.deepcopy(model)
    memory = term.remember(model, lambda n: probe(linear, n))
    move(model)
    output = model(IMAGES)
    expected = torch.zeros((), dtype=torch.float64)
    for now, then in zip(output.features, teacher(IMAGES).features, strict=True):
        then = then.detach()
        expected = expected + 0.5 * (now - then).square().mean() / float(np.var(then.numpy(), ddof=1))
    same_gradients(model, term.bind(model, {}, memory)(IMAGES, output), expected)
