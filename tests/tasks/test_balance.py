"""Every balance against a few lines of float64 written from its paper, its state, and what it refuses."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.tasks.balance import DWA, Balance, Fixed, GradNorm, PCGrad, Uncertainty

CONF = Path(__file__).parents[2] / "conf" / "balance"
WEIGHTS = {"mask": 1.0, "boundary": 0.5, "depth": 2.0}
REGRESSION = {"mask": False, "boundary": False, "depth": True}
MAKERS: dict[str, Callable[[], Balance]] = {
    "fixed": Fixed,
    "uncertainty": Uncertainty,
    "dwa": lambda: DWA(2.0),
    "gradnorm": lambda: GradNorm(1.5, 0.025),
    "pcgrad": PCGrad,
}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def begun(balance: Balance, weights: Mapping[str, float] = WEIGHTS) -> Balance:
    balance.begin({name: REGRESSION[name] for name in weights}, weights, torch.device("cpu"))
    return balance


def numbers(*values: float) -> dict[str, float]:
    return dict(zip(WEIGHTS, values, strict=True))


def tensors(*values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in numbers(*values).items()}


def pieces(vectors: np.ndarray) -> dict[str, list[Tensor]]:
    """Each task's gradient (24,), as those of a (3, 4, 1, 1), a (7,) and a (5,)."""
    return {
        name: [piece.reshape(shape) for piece, shape in zip(torch.tensor(v).split([12, 7, 5]), SHAPES, strict=True)]
        for name, v in zip(WEIGHTS, vectors, strict=True)
    }


SHAPES = [(3, 4, 1, 1), (7,), (5,)]


def test_fixed() -> None:
    assert begun(Fixed()).total(tensors(1.0, 2.0, 3.0), 1.0).item() == pytest.approx(1 + 0.5 * 2 + 2 * 3)
    assert begun(Fixed(), {"mask": 3.0}).total({"mask": torch.tensor(2.0)}, 0.5).item() == 6.0


def with_s(*s: float) -> Uncertainty:
    balance = Uncertainty()
    begun(balance)
    balance.load_state_dict({"s": torch.tensor(s)})
    return balance


def test_uncertainty_is_the_papers() -> None:
    s, losses = np.array([0.3, -2.0, -1.5]), np.array([0.7, 1.1, 1e-3])
    scale = np.array([1.0, 0.5, 2.0 * 0.5])  # the config's weights, and ½ of the regression
    balance = with_s(*s)
    inputs = {name: loss.requires_grad_() for name, loss in tensors(*losses).items()}
    total = balance.total(inputs, 1.0)
    total.backward()
    expected = (scale * np.exp(-s) * losses + s / 2).sum()
    assert total.item() == pytest.approx(expected)
    assert balance.parameters()[0].grad.tolist() == pytest.approx((-scale * np.exp(-s) * losses + 0.5).tolist())
    assert [loss.grad.item() for loss in inputs.values()] == pytest.approx((scale * np.exp(-s)).tolist())
    assert list(balance.weights().values()) == pytest.approx((scale * np.exp(-s)).tolist())
    assert with_s(-6.0, -6.0, -6.0).total(tensors(1e-4, 1e-4, 1e-4), 1.0) < 0


def test_uncertainty_rests_where_the_loss_says() -> None:
    """s ends where e^{−s}wL = ½ (½e^{−s}wL = ½ for a regression)."""
    balance = with_s(0.0, 0.0, 0.0)
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        balance.total(tensors(0.7, 1.1, 0.2), 1.0).backward()
        optimizer.step()
    assert balance.s.tolist() == pytest.approx(np.log(2 * np.array([0.7, 0.5 * 1.1, 0.5 * 2 * 0.2])).tolist())


def test_uncertainty_parted_over_batches_and_processes() -> None:
    parts = np.random.default_rng(0).random((2, 3, 3))  # processes, batches, tasks
    whole = with_s(0.3, -0.2, 0.1)
    value = whole.total(tensors(*parts.sum((0, 1))), 1.0)
    value.backward()
    gradients, values = [], []
    for process in parts:
        balance = with_s(0.3, -0.2, 0.1)
        for batch in process:
            total = balance.total(tensors(*(2 * batch)), 1 / 3)
            total.backward()
            values.append(total.item())
        gradients.append(balance.s.grad)
    assert torch.stack(gradients).mean(0).tolist() == pytest.approx(whole.s.grad.tolist())
    assert sum(values) / 2 == pytest.approx(value.item())


def test_dwa_over_four_epochs() -> None:
    means = np.array([[1.0, 2.0, 3.0], [0.5, 1.9, 3.3], [0.4, 1.0, 3.3], [0.4, 0.9, 1.0]])
    balance = begun(DWA(2.0))
    for t in range(4):
        if t < 2:
            expected = np.ones(3)
        else:
            powers = np.exp(means[t - 1] / means[t - 2] / 2.0)
            expected = 3 * powers / powers.sum()
        assert list(balance.factors.values()) == pytest.approx(expected.tolist())
        total = balance.total(tensors(*means[t]), 1.0).item()
        assert total == pytest.approx((expected * np.array(list(WEIGHTS.values())) * means[t]).sum())
        balance.epoch_done(numbers(*means[t]))


def test_dwa_with_an_epoch_without_a_label() -> None:
    balance = begun(DWA(2.0))
    balance.epoch_done(numbers(1.0, 0.0, 1.0))
    balance.epoch_done(numbers(1.0, 4.0, 1.0))
    assert list(balance.factors.values()) == pytest.approx([1.0, 1.0, 1.0])


def test_gradnorm_steps_along_the_papers_loss() -> None:
    """Against autograd through Σ |Gᵢ − Ḡ rᵢ^α|, by λ, on a small network with two shared tensors."""
    torch.manual_seed(0)
    shared = [torch.randn(6, 4, requires_grad=True), torch.randn(5, 6, requires_grad=True)]
    heads, images = torch.randn(3, 5), torch.randn(8, 4)
    balance = begun(GradNorm(1.5, 0.025))
    factors, first = torch.ones(3), None
    for step in range(5):
        deep = torch.tanh(images @ shared[0].T) @ shared[1].T
        losses = torch.stack([((deep @ head) - step).square().mean() for head in heads])
        given, weights = torch.tensor(list(WEIGHTS.values())), factors.clone().requires_grad_()
        single = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
        first = losses.detach() if first is None else first
        norms = []
        for weight, loss in zip(weights * given, losses, strict=True):
            found = torch.autograd.grad(weight * loss, shared, create_graph=True)
            norms.append(torch.cat([g.flatten() for g in found]).norm())
        norm = torch.stack(norms)
        ratio = losses.detach() / first
        target = (norm.mean() * (ratio / ratio.mean()) ** 1.5).detach()
        (slope,) = torch.autograd.grad((norm - target).abs().sum(), weights)
        factors = factors - 0.025 * slope
        factors = factors.clamp(min=1e-3)
        factors = 3 * factors / factors.sum()
        gradients = {name: list(g) for name, g in zip(WEIGHTS, single, strict=True)}
        assert balance.combine(gradients, numbers(*losses.tolist()), step) is None
        assert list(balance.factors.values()) == pytest.approx(factors.tolist(), rel=1e-9)
        assert list(balance.weights().values()) == pytest.approx((factors * given).tolist(), rel=1e-9)
    assert max(abs(factor - 1) for factor in balance.factors.values()) > 0.01


def test_gradnorm_evens_gradients_out_and_stays_positive() -> None:
    balance = begun(GradNorm(0.0, 0.01), {"mask": 1.0, "boundary": 1.0})
    gradients = {"mask": [torch.tensor([[3.0]])], "boundary": [torch.tensor([[1.0]])]}
    for step in range(300):
        balance.combine(gradients, {"mask": 1.0, "boundary": 1.0}, step)
    assert list(balance.weights().values()) == pytest.approx([0.5, 1.5], abs=0.06)
    wild = begun(GradNorm(0.0, 100.0), {"mask": 1.0, "boundary": 1.0})
    wild.combine(gradients, {"mask": 1.0, "boundary": 1.0}, 0)
    assert wild.weights()["mask"] > 0 and sum(wild.weights().values()) == pytest.approx(2)


@pytest.mark.parametrize(("alpha", "slopes"), [(1.5, (-1.2, 1.0)), (1.0, (1.2, -1.0))])
def test_gradnorms_alpha_decides_how_far_a_task_that_lags_is_pulled(alpha: float, slopes: tuple[float, float]) -> None:
    """Gradients 1.2 and 1, losses at 1.07 and 0.93 of their start: targets 1.218 and 0.987, or 1.177 and 1.023."""
    balance = begun(GradNorm(alpha, 0.025), {"mask": 1.0, "boundary": 1.0})
    for gradients, losses in (((0.0, 0.0), (2.0, 3.0)), ((1.2, 1.0), (2.14, 2.79))):
        found = {name: [torch.tensor([[g]])] for name, g in zip(("mask", "boundary"), gradients, strict=True)}
        balance.combine(found, dict(zip(("mask", "boundary"), losses, strict=True)), 0)
    stepped = 1 - 0.025 * np.array(slopes)
    assert list(balance.weights().values()) == pytest.approx((2 * stepped / stepped.sum()).tolist())


@pytest.mark.parametrize(("loss", "gradient"), [(0.0, 1.0), (1.0, math.inf), (1.0, math.nan)])
def test_gradnorm_leaves_out_windows_that_say_nothing(loss: float, gradient: float) -> None:
    balance = begun(GradNorm(1.5, 0.025))
    found = {name: [torch.tensor([[i + 1.0]])] for i, name in enumerate(WEIGHTS)} | {"mask": [torch.tensor([gradient])]}
    balance.combine(found, numbers(loss, 1.0, 1.0), 0)
    assert balance.factors == numbers(1.0, 1.0, 1.0) and not balance.past


def test_gradnorm_finds_the_last_matrix_of_each_level_that_several_heads_read() -> None:
    stages = nn.ModuleList([nn.Sequential(nn.Conv2d(c, 3, 3), nn.BatchNorm2d(3)) for c in (2, 3, 3)])
    names, parameters = zip(*stages.named_parameters(), strict=True)
    image = torch.randn(2, 2, 9, 9)
    features = [image := stage(image) for stage in stages]
    matrices = [i for i, parameter in enumerate(parameters) if parameter.ndim > 1]
    balance = GradNorm(1.5, 0.025)
    assert balance.shared(names, parameters, features, [1, 2, 3]) == matrices[1:]
    assert balance.shared(names, parameters, features, [2, 1, 1]) == matrices[:1]
    assert balance.shared(names, parameters, features, [1, 1, 1]) == []
    assert balance.shared(names, parameters, [f.detach() for f in features], [2, 2, 2]) == []
    features[-1].sum().backward()  # the graph is still there


def pcgrad(gradients: np.ndarray, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    projected = gradients.copy()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            inner = projected[i] @ gradients[j]
            if i != j and inner < 0:
                projected[i] -= inner / (gradients[j] @ gradients[j]) * gradients[j]
    return projected.sum(0)


@pytest.mark.parametrize("seed", range(6))
def test_pcgrad_is_the_papers_algorithm(seed: int) -> None:
    random = np.random.default_rng(seed)
    common = random.normal(size=24)
    vectors = random.normal(size=(3, 24)) + np.outer([1.0, -1.0, 0.3], common)
    weighted = vectors * np.array(list(WEIGHTS.values()))[:, None]
    added = begun(PCGrad()).combine(pieces(vectors), numbers(1.0, 1.0, 1.0), seed)
    assert added is not None and [tuple(a.shape) for a in added] == SHAPES
    total = torch.cat([a.flatten() for a in added]).numpy() + weighted.sum(0)
    np.testing.assert_allclose(total, pcgrad(weighted, seed), rtol=1e-9, atol=1e-12)


def test_pcgrad_of_three_depends_on_the_order_and_on_the_seed_alone() -> None:
    vectors = np.random.default_rng(1).normal(size=(3, 24)) + np.outer([1.0, -1.0, -0.8], np.ones(24))
    results = [begun(PCGrad()).combine(pieces(vectors), numbers(1.0, 1.0, 1.0), seed) for seed in (0, 0, *range(1, 9))]
    flat = [torch.cat([r.flatten() for r in result or []]) for result in results]
    assert torch.equal(flat[0], flat[1])
    assert any(not torch.allclose(flat[0], other) for other in flat)


def test_pcgrad_adds_nothing_where_nothing_conflicts() -> None:
    vectors = np.abs(np.random.default_rng(0).normal(size=(3, 24)))
    balance = begun(PCGrad())
    assert balance.combine(pieces(vectors), numbers(1.0, 1.0, 1.0), 0) is None
    vectors[2] = 0  # a task without a label in this window
    assert balance.combine(pieces(vectors), numbers(1.0, 1.0, 0.0), 0) is None
    assert balance.combine({name: [] for name in WEIGHTS}, numbers(1.0, 1.0, 1.0), 0) is None
    assert balance.shared(["a", "b"], [torch.zeros(2), torch.zeros(2, 2)], [], []) == [0, 1]


def train(balance: Balance, steps: range) -> list[float]:
    """The weights after each of a few steps, each an epoch, on losses and gradients that the step alone decides."""
    told = []
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.1) if balance.parameters() else None
    for step in steps:
        random = np.random.default_rng(step)
        losses = random.random(3) + 0.1
        total = balance.total({n: v.requires_grad_() for n, v in tensors(*losses).items()}, 1.0)
        if optimizer:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        balance.combine(pieces(random.normal(size=(3, 24))), numbers(*losses), step)
        balance.epoch_done(numbers(*losses))
        told += [total.item(), *balance.weights().values()]
    return told


@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_balance_goes_on_as_if_never_stopped(name: str) -> None:
    whole = begun(MAKERS[name]())
    train(whole, range(3))
    stored = io.BytesIO()
    torch.save(whole.state_dict(), stored)
    rest = train(whole, range(3, 6))
    stored.seek(0)
    resumed = begun(MAKERS[name]())
    resumed.load_state_dict(torch.load(stored, weights_only=True))
    assert train(resumed, range(3, 6)) == rest


def test_a_state_is_a_copy() -> None:
    balance = begun(Uncertainty())
    state = balance.state_dict()
    train(balance, range(2))
    assert state["s"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "fixed"])
def test_one_task_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=rf"balance={name} weighs tasks against each other, but there is one"):
        begun(MAKERS[name](), {"mask": 1.0})


@pytest.mark.parametrize("wrong", [lambda: DWA(0.0), lambda: DWA(math.nan)])
def test_a_temperature_out_of_range_is_refused(wrong: Callable[[], Balance]) -> None:
    with pytest.raises(RequestError, match=r"balance\.temperature="):
        wrong()


@pytest.mark.parametrize(("alpha", "lr", "option"), [(-0.1, 0.025, "alpha=-0.1"), (1.5, 0.0, r"lr=0\.0")])
def test_gradnorms_options_out_of_range_are_refused(alpha: float, lr: float, option: str) -> None:
    with pytest.raises(RequestError, match=rf"balance\.{option}"):
        GradNorm(alpha, lr)


@pytest.mark.parametrize("name", MAKERS)
def test_the_shipped_files(name: str) -> None:
    built = build(yaml.safe_load((CONF / f"{name}.yaml").read_text()), "balance")
    assert type(built) is type(MAKERS[name]()) and vars(built) == vars(MAKERS[name]())
