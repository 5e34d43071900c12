"""Parameter groups, and optimizer state that follows a parameter's name from phase to phase."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segrun.config.build import build
from segrun.engine.optimizers import SGD, Adam, AdamW, OptimizerFactory, named_state, parameter_groups, restore_state
from segrun.errors import RequestError
from segrun.transfer.plan import PartSettings

FACTORIES = [
    AdamW(1e-3, 0.01, [0.9, 0.95]),
    Adam(1e-3, 0.01, [0.9, 0.95]),
    SGD(1e-3, 0.01, 0.9, nesterov=True),
]


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


SLOW, FAST = PartSettings(lr_multiplier=0.1), PartSettings()
LEARNING = {"0.weight": SLOW, "0.bias": SLOW, "1.weight": SLOW, "1.bias": SLOW, "2.weight": FAST, "2.bias": FAST}


def described(groups: list[dict[str, Any]]) -> dict[tuple[str, ...], tuple[float, float]]:
    return {tuple(g["names"]): (g["lr"], g["weight_decay"]) for g in groups}


def test_a_group_is_one_rate_and_one_decay() -> None:
    groups = parameter_groups(model(), LEARNING, AdamW(1e-3, 0.01, [0.9, 0.999]), decay_1d=True)
    assert described(groups) == {
        ("0.weight", "0.bias", "1.weight", "1.bias"): (1e-4, 0.01),
        ("2.weight", "2.bias"): (1e-3, 0.01),
    }
    assert [group["lr_multiplier"] for group in groups] == [0.1, 1.0]


def test_one_dimensional_parameters_decay_only_if_asked() -> None:
    groups = parameter_groups(model(), LEARNING, AdamW(1e-3, 0.01, [0.9, 0.999]), decay_1d=False)
    assert described(groups) == {
        ("0.weight",): (1e-4, 0.01),
        ("0.bias", "1.weight", "1.bias"): (1e-4, 0.0),
        ("2.weight",): (1e-3, 0.01),
        ("2.bias",): (1e-3, 0.0),
    }


def test_a_part_may_have_less_decay() -> None:
    groups = parameter_groups(
        model(),
        {"0.weight": PartSettings(decay_multiplier=0.0), "2.weight": PartSettings(decay_multiplier=0.5)},
        SGD(1.0, 0.01, 0.9, False),
        True,
    )
    assert described(groups) == {("0.weight",): (1.0, 0.0), ("2.weight",): (1.0, 0.005)}


def test_what_does_not_learn_is_in_no_group() -> None:
    net = model()
    groups = parameter_groups(net, {"2.weight": FAST}, SGD(1.0, 0.0, 0.9, False), decay_1d=True)
    assert [p is net[2].weight for group in groups for p in group["params"]] == [True]  # type: ignore[index]


def test_factories_hand_on_what_they_hold() -> None:
    groups = parameter_groups(model(), LEARNING, FACTORIES[0], decay_1d=True)
    adamw, adam, sgd = (factory(groups) for factory in FACTORIES)
    assert [type(made) for made in (adamw, adam, sgd)] == [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD]
    assert adamw.defaults["betas"] == adam.defaults["betas"] == (0.9, 0.95)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    assert [group["lr"] for group in sgd.param_groups] == [1e-4, 1e-3]


def train(net: nn.Module, optimizer: torch.optim.Optimizer, *steps: int) -> None:
    for step in steps:
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(images).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("factory", FACTORIES)
def test_state_follows_the_name_when_groups_change(factory: OptimizerFactory) -> None:
    net = model()
    heads = factory(parameter_groups(net, {"2.weight": FAST, "2.bias": FAST}, factory, decay_1d=True))
    train(net, heads, 0, 1, 2)
    state = named_state(heads)
    assert set(state) == {"2.weight", "2.bias"}
    everything = factory(parameter_groups(net, LEARNING, factory, decay_1d=False))
    restore_state(everything, state)
    again = named_state(everything)
    assert set(again) == {"2.weight", "2.bias"}  # what begins to learn begins anew
    for name, values in state.items():
        assert values.keys() == again[name].keys()
        for key, value in values.items():
            assert again[name][key] is not value or not isinstance(value, Tensor)
            torch.testing.assert_close(again[name][key], value, rtol=0, atol=0)


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_optimizer_made_anew_goes_on_as_though_it_never_stopped(factory: OptimizerFactory) -> None:
    through, parted = model(), model()
    parted.load_state_dict(through.state_dict())
    train(through, factory(parameter_groups(through, LEARNING, factory, decay_1d=True)), 0, 1, 2, 3)
    state: dict[str, dict[str, Any]] = {}
    for steps in ((0, 1), (2, 3)):
        optimizer = factory(parameter_groups(parted, LEARNING, factory, decay_1d=True))
        restore_state(optimizer, state)
        train(parted, optimizer, *steps)
        state = named_state(optimizer)
    for name, value in through.state_dict().items():
        assert torch.equal(parted.state_dict()[name], value), name


def test_a_frozen_parameter_takes_no_state_along() -> None:
    net = model()
    factory = SGD(0.1, 0.0, 0.9, False)
    all_of_it = factory(parameter_groups(net, LEARNING, factory, decay_1d=True))
    train(net, all_of_it, 0)
    heads = factory(parameter_groups(net, {"2.weight": FAST}, factory, decay_1d=True))
    restore_state(heads, named_state(all_of_it))
    assert set(named_state(heads)) == {"2.weight"}


ADAMW = {"_target_": "segrun.engine.optimizers.AdamW", "lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999]}
SGD_CONFIG = {
    "_target_": "segrun.engine.optimizers.SGD",
    "lr": 0.02,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "nesterov": False,
}


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        *((ADAMW, "lr", value) for value in (0, -1, float("nan"), float("inf"), 1e30, "abc", None, [], True)),
        *((ADAMW, "weight_decay", value) for value in (-0.1, float("nan"), 1e30, "abc")),
        *((ADAMW, "betas", value) for value in (0.9, [0.9], [0.9, 1.0], [0.9, 0.99, 0.999], "ab", None, [-0.1, 0.9])),
        *((SGD_CONFIG, "momentum", value) for value in (1.0, -0.1, "abc")),
        *((SGD_CONFIG, "nesterov", value) for value in (1, "true", None)),
    ],
)
def test_a_setting_outside_its_range_is_refused(config: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(RequestError, match=rf"^optimizer\.{key}"):
        build({**config, key: value}, "optimizer")


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(RequestError, match=r"nesterov=true needs optimizer\.momentum above 0"):
        build({**SGD_CONFIG, "nesterov": True, "momentum": 0.0}, "optimizer")
