"""Batch norms' statistics estimated anew, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from segrun.engine.batch_norm import batch_norm_names, update_batch_norm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(4, 5, 1),
        nn.BatchNorm2d(5), nn.GroupNorm(1, 5), nn.BatchNorm2d(5, track_running_stats=False),
    )  # fmt: skip
    for module in made:
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(1, 2)  # type: ignore[union-attr]
    return made


@pytest.fixture
def images() -> list[torch.Tensor]:
    return [torch.randn(count, 3, 8, 8) * scale for count, scale in ((2, 1.0), (4, 3.0), (3, 0.5))]


def test_they_are_the_plain_mean_over_batches_of_each_ones_mean_and_unbiased_variance(
    images: list[torch.Tensor],
) -> None:
    model = network()
    maps = [model[0](batch).detach().double().numpy() for batch in images]
    update_batch_norm(model, images, ["1"])
    means, variances = ([f(m) for m in maps] for f in (lambda m: m.mean((0, 2, 3)), lambda m: m.var((0, 2, 3), ddof=1)))
    np.testing.assert_allclose(model[1].running_mean.numpy(), np.mean(means, 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model[1].running_var.numpy(), np.mean(variances, 0), rtol=1e-4)


def test_only_the_chosen_norms_change_and_everything_ends_in_eval_mode_with_its_momentum(
    images: list[torch.Tensor],
) -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    update_batch_norm(model, images, ["1"])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert not any(module.training for module in model.modules())
    assert (model[1].momentum, model[5].momentum) == (0.3, 0.1)


def test_dropout_is_off_while_they_are_estimated(images: list[torch.Tensor]) -> None:
    one, other = network(), network()
    for model, seed in ((one, 1), (other, 2)):
        torch.manual_seed(seed)
        update_batch_norm(model, images, ["1", "5"])
    assert torch.equal(one[5].running_mean, other[5].running_mean)
    assert torch.equal(one[5].running_var, other[5].running_var)


def test_what_they_were_before_does_not_count(images: list[torch.Tensor]) -> None:
    one, other = network(), network()
    other[1].running_mean.fill_(100.0)
    for model in (one, other):
        update_batch_norm(model, images, ["1", "5"])
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


def test_the_norms_that_hold_statistics_are_found_by_name() -> None:
    assert batch_norm_names(network()) == ["1", "5"]
