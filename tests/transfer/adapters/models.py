"""Small models to adapt, and helpers to compare their scores."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.swin_transformer import SwinTransformer

from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.heads.head import Head
from segrun.models.segmenter import Segmenter
from segrun.transfer.adapters.adaptformer import AdaptFormer
from segrun.transfer.adapters.conv_adapter import ConvAdapter
from segrun.transfer.adapters.lora import LoRA
from segrun.transfer.strategies.finetune import Finetune
from tests.transfer.shipped import report_as_loaded, shipped_model

LORA = LoRA(rank=4, alpha=8, where=["*"], backbone_lr=1.0)
CONV = ConvAdapter(reduction=4, backbone_lr=1.0)
FORMER = AdaptFormer(bottleneck=4, scale=0.1, backbone_lr=1.0)
GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"stride": 2, "padding": 1},
    {"dilation": 4, "padding": 4},
    {"groups": 4, "bias": False},
    {"groups": 8, "padding": 2, "dilation": 2, "stride": 2},
    {"kernel_size": (3, 1), "padding": (1, 0)},
    {"padding": "same", "dilation": 3},
]


class TinyTransformer(Backbone):
    """A transformer of torchvision with one map, and a new layer after it."""

    def __init__(self, body: nn.Module, stride: int) -> None:
        super().__init__()
        self.body, self.pyramid = body, nn.Conv2d(16, 16, 3, padding=1)
        self.stages, self.fresh, self.levels = {"stem": ["body"]}, {"pyramid": ["pyramid"]}, (Level(16, stride),)

    def forward(self, images: Tensor) -> list[Tensor]:
        body: Any = self.body
        if isinstance(body, SwinTransformer):
            return [self.pyramid(body.features(images).permute(0, 3, 1, 2))]
        patches = torch.cat((body.class_token.expand(len(images), -1, -1), body._process_input(images)), 1)
        return [self.pyramid(body.encoder(patches)[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))]


class LinearHead(Head):
    levels_used = (0,)

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Conv2d(16, 2, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        scores: Tensor = self.output(features[-1])
        return scores


class SingleLayer(Backbone):
    """A backbone of one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.stages, self.levels = layer, {"stem": ["layer"]}, (Level(1, 1),)


@functools.cache
def _model(name: str) -> Segmenter:
    torch.manual_seed(0)
    if name == "vit":
        vit = VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
        model = Segmenter(TinyTransformer(vit, 16), {"mask": LinearHead()})
        del vit.heads
    elif name == "swin":
        swin = SwinTransformer([4, 4], 16, [2], [2], [4, 4])
        model = Segmenter(TinyTransformer(swin, 4), {"mask": LinearHead()})
        del swin.norm, swin.head
    else:
        model = shipped_model(name, "head.channels=8")
        model.backbone.dilate(8)
    report_as_loaded(model)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    scores(model)  # with the statistics of a trained network, no score vanishes
    return model.eval()


def new_model(name: str, dtype: torch.dtype = torch.float32) -> Segmenter:
    """A model with a backbone that is reported as loaded; the same weights each time."""
    return copy.deepcopy(_model(name)).to(dtype)


def scores(model: Segmenter, dtype: torch.dtype = torch.float32) -> Tensor:
    """For two fixed images."""
    images = torch.rand(2, 3, 64, 64, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return model(images).tasks["mask"]


def adapted(name: str, strategy: Finetune, dtype: torch.dtype = torch.float32) -> Segmenter:
    """With adapters at their start."""
    model = new_model(name, dtype)
    strategy.adapt(model)
    return model


def trained(name: str, strategy: Finetune, dtype: torch.dtype = torch.float32) -> Segmenter:
    """With adapters away from their start, as after training."""
    model = adapted(name, strategy, dtype)
    kinds = {p.name: p.kind for p in model.parts().parameters}
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if kinds[parameter_name] == "adapter":
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def adapted_layer(layer: nn.Module, strategy: Finetune) -> nn.Module:
    """A single layer in float64, with random adapters."""
    model = Segmenter(SingleLayer(layer), {}).double()
    strategy.adapt(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("parametrizations" in name and not name.endswith("original")) or ".adapter." in name:
                parameter.copy_(torch.randn_like(parameter))
    return model.backbone.get_submodule("layer")
