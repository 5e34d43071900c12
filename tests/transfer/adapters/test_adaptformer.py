"""AdaptFormer: its formula, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from segrun.config.build import build
from segrun.errors import RequestError
from tests.transfer.adapters.models import FORMER, new_model, trained


def test_the_bottleneck_is_given_what_the_mlp_is_given() -> None:
    model: Any = trained("vit", FORMER)
    block = model.backbone.body.encoder.layers[0]
    tokens = torch.randn(2, 5, 16)
    after_attention = tokens + block.self_attention(*[block.ln_1(tokens)] * 3)[0]
    inside = block.ln_2(after_attention)
    mlp = F.linear(
        F.gelu(F.linear(inside, block.mlp[0].weight, block.mlp[0].bias)), block.mlp[3].weight, block.mlp[3].bias
    )
    branch = block.adapter
    expected = after_attention + mlp + 0.1 * branch.up(branch.down(inside).clamp(min=0))
    torch.testing.assert_close(block(tokens), expected)


def test_a_network_without_transformer_blocks_is_refused() -> None:
    with pytest.raises(RequestError, match=r"transformer blocks.*strategy=lora or strategy=conv_adapter"):
        FORMER.adapt(new_model("resnet18"))


@pytest.mark.parametrize(("key", "value"), [("bottleneck", 0), ("scale", 0.0)])
def test_settings_out_of_range_are_refused(key: str, value: float) -> None:
    settings = {"bottleneck": 64, "scale": 0.1, "backbone_lr": 1.0, key: value}
    with pytest.raises(RequestError, match=rf"strategy\.{key}={value}: must be "):
        build({"_target_": "segrun.transfer.adapters.adaptformer.AdaptFormer", **settings}, "strategy")
