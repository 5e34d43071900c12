"""SSF: its formula and its start."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from segrun.transfer.adapters.ssf import SSF
from tests.transfer.adapters.models import GEOMETRIES, adapted, adapted_layer


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_ssf_on_a_convolution_scales_and_shifts_what_it_gives(geometry: dict[str, Any]) -> None:
    kept = nn.Conv2d(8, 16, **{"kernel_size": 3, **geometry}).double()
    layer: Any = adapted_layer(copy.deepcopy(kept), SSF(1.0))
    images = torch.randn(2, 8, 17, 20, dtype=torch.float64)
    gamma = layer.parametrizations.weight[0].gamma
    beta = layer.parametrizations.bias[0].beta if kept.bias is not None else torch.zeros(16)
    expected = torch.einsum("c,bchw->bchw", gamma, kept(images)) + beta[:, None, None]
    torch.testing.assert_close(layer(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kept", [nn.Linear(8, 16), nn.LayerNorm(8), nn.RMSNorm(8)])
def test_ssf_on_linear_layers_and_norms_does_the_same(kept: nn.Module) -> None:
    kept = kept.double()
    layer: Any = adapted_layer(copy.deepcopy(kept), SSF(1.0))
    tokens = torch.randn(2, 5, 8, dtype=torch.float64)
    beta = layer.parametrizations.bias[0].beta if "bias" in layer.parametrizations else 0.0
    expected = kept(tokens) * layer.parametrizations.weight[0].gamma + beta
    torch.testing.assert_close(layer(tokens), expected, rtol=1e-10, atol=1e-10)


def test_ssf_starts_near_the_pretrained_model() -> None:
    model: Any = adapted("mobilenet_v2", SSF(1.0))
    adapters = dict(model.named_parameters())
    for word, mean in (("gamma", 1), ("beta", 0)):
        values = torch.cat([p.flatten() for n, p in adapters.items() if n.endswith(word)])
        assert values.mean().item() == pytest.approx(mean, abs=0.002)
        assert values.std().item() == pytest.approx(0.02, rel=0.05)
