"""LoRA: its formula, the layers it chooses, and its ranks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.transfer.adapters.lora import LoRA
from tests.transfer.adapters.models import GEOMETRIES, LORA, adapted, adapted_layer, new_model


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_lora_on_a_convolution_is_a_second_convolution_beside_it(geometry: dict[str, Any]) -> None:
    kept = nn.Conv2d(8, 16, **{"kernel_size": 3, **geometry}).double()
    layer: Any = adapted_layer(copy.deepcopy(kept), LoRA(3, 6.0, "*", 1.0))
    images = torch.randn(2, 8, 17, 20, dtype=torch.float64)
    update = layer.parametrizations.weight[0]
    delta = torch.einsum("or,rn->on", update.B, update.A).reshape(kept.weight.shape)
    where = (kept.stride, kept.padding, kept.dilation, kept.groups)
    expected = kept(images) + 6.0 / 3 * F.conv2d(images, delta, None, *where)
    torch.testing.assert_close(layer(images), expected, rtol=1e-10, atol=1e-10)


def test_the_rank_is_capped_where_a_side_is_smaller_and_a_note_states_it() -> None:
    model = new_model("mobilenet_v2")
    (kernels, narrow) = LoRA(16, 16, ["*"], 1.0).adapt(model)[:1], new_model("resnet18")
    assert kernels == [
        "LoRA: rank 9 instead of 16 in 17 weights whose smaller side is 9 "
        "(body.features.1.conv.0.0, body.features.2.conv.1.0 and 15 more)"
    ]
    ranks = [p.shape[0] for n, p in model.named_parameters() if n.endswith(".A")]
    assert sorted(set(ranks)) == [9, 16] and ranks.count(9) == 17
    assert LORA.adapt(narrow) == []


def test_where_chooses_layers() -> None:
    model = adapted("resnet18", LoRA(2, 2, ["*layer4*conv2", "body.conv1"], 1.0))
    assert [n for n, _ in model.named_parameters() if n.endswith(".A")] == [
        f"backbone.body.{path}.parametrizations.weight.0.A" for path in ("conv1", "layer4.0.conv2", "layer4.1.conv2")
    ]


@pytest.mark.parametrize("where", [["layer9*"], ["*", "body.layer4.0.bn1"], "conv1"])
def test_a_glob_without_a_layer_is_refused_with_names_that_there_are(where: list[str]) -> None:
    with pytest.raises(RequestError, match=r"strategy\.where: '.*' matches no .*body\.conv1, body\.layer1\.0\.conv1"):
        LoRA(2, 2, where, 1.0).adapt(new_model("resnet18"))


@pytest.mark.parametrize(
    ("key", "value"), [("rank", 0), ("rank", 1.5), ("alpha", 0.0), ("where", []), ("where", None), ("backbone_lr", 0.0)]
)
def test_settings_out_of_range_are_refused(key: str, value: Any) -> None:
    settings = {"rank": 8, "alpha": 8, "where": ["*"], "backbone_lr": 1.0, key: value}
    with pytest.raises(RequestError, match=rf"strategy\.{key}=.*: must be "):
        build({"_target_": "segrun.transfer.adapters.lora.LoRA", **settings}, "strategy")
