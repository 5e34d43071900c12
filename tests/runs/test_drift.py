"""How far weights and features have gone, against formulas written out in numpy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.heads.head import Head
from segrun.models.segmenter import Segmenter
from segrun.models.weights.report import LoadReport
from segrun.runs.drift import drift, feature_similarity, linear_cka
from segrun.transfer.adapters.lora import LoRA


class Small(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.stages, self.levels = {"stem": ["first"], "layer1": ["second"]}, (Level(4, 2), Level(6, 4))
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        first = self.first(images)
        return [first, self.second(first.relu())]


class Last(nn.Conv2d, Head):
    levels_used = (1,)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        return super().forward(features[-1])


@pytest.fixture
def model() -> Segmenter:
    torch.manual_seed(0)
    made = Segmenter(Small(), {"mask": Last(6, 2, 1)})
    made.report = LoadReport("x", loaded=tuple(made.backbone.state_dict())).prefixed("backbone.")
    return made


def distance(now: list[np.ndarray], then: list[np.ndarray]) -> float:
    flat, old = (np.concatenate([a.ravel() for a in arrays]).astype(np.float64) for arrays in (now, then))
    return float(np.linalg.norm(flat - old) / np.linalg.norm(old))


def test_drift_is_numpys_relative_distance_of_each_part(model: Segmenter) -> None:
    start = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model.backbone.second.weight.add_(torch.randn(6, 4, 3, 3))
        model.heads["mask"].bias.mul_(3)
    found, now = drift(model, start), {n: v.numpy() for n, v in model.state_dict().items()}
    assert list(found) == ["backbone.stem", "backbone.layer1", "head.mask"]
    assert found["backbone.stem"] == 0
    for part, prefix in (("backbone.layer1", "backbone.second"), ("head.mask", "heads.mask")):
        names = [f"{prefix}.weight", f"{prefix}.bias"]
        assert found[part] == pytest.approx(distance([now[n] for n in names], [start[n].numpy() for n in names]))
        assert found[part] > 0.1


def test_a_part_that_was_all_zero_or_not_there_has_no_drift(model: Segmenter) -> None:
    start = copy.deepcopy(model.state_dict())
    start["backbone.first.weight"].zero_()
    start["backbone.first.bias"].zero_()
    found = drift(model, {n: v for n, v in start.items() if not n.startswith("heads.")})
    assert list(found) == ["backbone.layer1"]


def test_merged_adapters_have_moved_the_weight_they_were_beside(model: Segmenter) -> None:
    plain = copy.deepcopy(model)
    lora = LoRA(2, 2.0, ["second"], 1.0)
    lora.adapt(model)
    start = copy.deepcopy(model.state_dict())
    adapter = model.backbone.second.parametrizations.weight[0]
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
    lora.export(model)
    names = ["backbone.second.weight", "backbone.second.bias"]
    now, then = ([each.state_dict()[n].numpy() for n in names] for each in (model, plain))
    assert drift(model, start)["backbone.layer1"] == pytest.approx(distance(now, then), rel=1e-5)


def test_cka_is_one_for_itself_for_a_rotation_a_scale_and_a_shift() -> None:
    x = torch.randn(40, 7, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))
    for y in (x, x @ rotation, 5 * x, x + torch.arange(7)):
        assert linear_cka(x, y) == pytest.approx(1, abs=1e-10)


def test_cka_is_that_of_gram_matrices() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5)) + 2
    y = np.concatenate([x[:, :2] + rng.normal(size=(30, 2)), rng.normal(size=(30, 6))], 1) * 0.1
    centring = np.eye(30) - 1 / 30
    k, m = (centring @ (a @ a.T) @ centring for a in (x, y))  # HSIC: Kornblith et al., ICML 2019, section 3
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert 0.1 < expected < 0.9
    assert linear_cka(torch.tensor(x), torch.tensor(y)) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(torch.tensor(y), torch.tensor(x)) == pytest.approx(expected, rel=1e-10)


def test_features_that_do_not_vary_have_similarity_zero_and_not_nan() -> None:
    assert linear_cka(torch.ones(9, 3), torch.randn(9, 3)) == 0


def test_each_map_is_compared_with_the_others_and_order_of_batches_does_not_count(model: Segmenter) -> None:
    images = [torch.rand(2, 3, 32, 32), torch.rand(1, 3, 48, 32)]
    assert feature_similarity(model, copy.deepcopy(model), images) == pytest.approx([1, 1])
    other = copy.deepcopy(model)
    nn.init.normal_(other.backbone.second.weight)
    first, second = feature_similarity(model, other, images)
    assert first == pytest.approx(1) and second < 0.99
    assert feature_similarity(model, other, images[::-1]) == pytest.approx([first, second])
