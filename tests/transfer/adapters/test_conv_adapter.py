"""Convolution adapters: their formula, and what they refuse."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.transfer.adapters.conv_adapter import ConvAdapter, ConvBranch
from tests.transfer.adapters.models import CONV, GEOMETRIES, adapted_layer


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_convolution_beside_another_fits_it(geometry: dict[str, Any]) -> None:
    kept = nn.Conv2d(8, 16, **{"kernel_size": 3, **geometry}).double()
    layer: Any = adapted_layer(copy.deepcopy(kept), ConvAdapter(2, 1.0))
    images = torch.randn(2, 8, 17, 20, dtype=torch.float64)
    branch: ConvBranch = layer.adapter
    hidden = F.conv2d(images, branch.depthwise.weight, None, kept.stride, kept.padding, kept.dilation, groups=4)
    added = torch.einsum("oc,bchw->bohw", branch.pointwise.weight[:, :, 0, 0], hidden.relu())
    expected = kept(images) + branch.scale[:, None, None] * added
    torch.testing.assert_close(layer(images), expected, rtol=1e-10, atol=1e-10)


def test_a_network_without_kernels_is_refused_by_the_convolution_beside_them() -> None:
    with pytest.raises(RequestError, match=r"no convolution larger than 1×1\. Use strategy=lora"):
        adapted_layer(nn.Linear(2, 2), CONV)


def test_a_reduction_out_of_range_is_refused() -> None:
    settings = {"_target_": "segrun.transfer.adapters.conv_adapter.ConvAdapter", "reduction": 0, "backbone_lr": 1.0}
    with pytest.raises(RequestError, match=r"strategy\.reduction=0: must be a whole number of at least 1"):
        build(settings, "strategy")
