"""torchvision's plain vision transformers, at any image size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from segrun.models.backbones.pyramid import Pyramid, padded
from segrun.models.backbones.torchvision import TorchvisionBackbone
from segrun.models.weights.adapting import resampled_positions


class TorchvisionViT(TorchvisionBackbone):
    """A vision transformer (Dosovitskiy et al., ICLR 2021): its blocks are parts one by one, its position embeddings
    are resampled to the image's grid, and a simple pyramid (ViTDet) makes maps at strides 4 to 32 of its last one.

    Takes what TorchvisionBackbone takes; `stages` is made here.
    """

    fresh: Mapping[str, list[str]] = {"pyramid": ["pyramid"]}

    def cut(self, stages: Mapping[str, str]) -> Mapping[str, list[str]]:
        body: Any = self.body
        del body.heads
        self.patch = int(body.patch_size)
        blocks = [f"body.encoder.layers.{name}" for name, _ in body.encoder.layers.named_children()]
        stem = ["body.conv_proj", "body.class_token", "body.encoder.pos_embedding", "body.encoder.dropout"]
        made = {"stem": stem} | {f"block{i}": [path] for i, path in enumerate(blocks, 1)}
        made[f"block{len(blocks)}"].append("body.encoder.ln")
        self.pyramid = Pyramid(body.hidden_dim, self.patch)
        return made

    def forward(self, images: Tensor) -> list[Tensor]:
        body: Any = self.body
        patches = body.conv_proj(padded(images, self.patch))
        grid = (patches.shape[-2], patches.shape[-1])
        tokens = torch.cat((body.class_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
        tokens = body.encoder.dropout(tokens + resampled_positions(body.encoder.pos_embedding, grid, 1))
        tokens = body.encoder.ln(body.encoder.layers(tokens))
        maps: list[Tensor] = self.pyramid(tokens[:, 1:].transpose(1, 2).unflatten(2, grid), images.shape[-2:])
        return maps

    def dilate(self, output_stride: int) -> None:
        self.pyramid.end_at(output_stride)
        self.levels = self.pyramid.levels

    def keep_levels(self, indices: Iterable[int]) -> None:
        self.pyramid.keep_levels(indices)
