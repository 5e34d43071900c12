"""LoRA: low-rank updates of frozen weights."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from segrun.errors import RequestError, join_names
from segrun.models.parts import Adapter
from segrun.models.segmenter import Segmenter
from segrun.ranges import LRMultiplier, NonEmpty, PositiveFloat, PositiveInt
from segrun.transfer.adapters.layers import MATMUL_LAYERS, WeightedLayer, weighted_layers
from segrun.transfer.adapters.merging import MergedAdapters


class LowRank(Adapter):
    """W (out, in/groups, …) → W + scale · BA, with B (out, rank) zero at the start and A (rank, in/groups · …).

    Args:
        weight: W.
        rank: Of BA.
        alpha: scale = alpha / rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.scale = alpha / rank
        self.A = nn.Parameter(matrix.new_empty(rank, matrix.shape[1]))
        self.B = nn.Parameter(matrix.new_zeros(len(matrix), rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        device = "cpu" if weight.is_meta else weight.device.type
        with torch.autocast(device, enabled=False):  # so that the merged weight is exactly the trained one
            return weight + (self.B @ self.A).view(weight.shape) * self.scale


class LoRA(MergedAdapters):
    """Low-rank updates of convolutions and linear layers: W + (α/r) BA (Hu et al., ICLR 2022).

    A kernel (out, in/groups, kh, kw) is taken as one matrix (out) × (in/groups · kh · kw), one row per output channel.
    So BA is valid for any number of groups: the rows of all groups share A, where one A per group would cost as many
    times more. Since the update acts on the weight, stride, padding and dilation need no special case. r is `rank`, or
    the smaller side of the matrix if that is less (9 for a depthwise 3×3 kernel), and α/r uses each layer's own r.

    Args:
        rank: The largest r.
        alpha: α.
        where: One or several globs over the paths of layers in the backbone. Layers that no pretrained weights have
            are trained in full and left alone.
        backbone_lr: LR multiplier of the adapters.
    """

    def __init__(
        self,
        rank: PositiveInt,
        alpha: PositiveFloat,
        where: str | Annotated[Sequence[str], NonEmpty],
        backbone_lr: LRMultiplier,
    ) -> None:
        super().__init__(backbone_lr)
        self.rank = rank
        self.alpha = alpha
        self.where = [where] if isinstance(where, str) else list(where)

    def adapt(self, model: Segmenter) -> list[str]:
        """See `Strategy.adapt`.

        Raises:
            RequestError: A glob in `where` matches no layer.
        """
        layers = {layer.path: layer for layer in weighted_layers(model.backbone, MATMUL_LAYERS)}
        self._check_globs(layers)
        capped: dict[int, list[str]] = {}  # paths of the layers by their rank, where that is below `rank`
        for path, layer in layers.items():
            if not any(fnmatch.fnmatchcase(path, glob) for glob in self.where):
                continue
            weight = getattr(layer.module, layer.weight)
            rank = min(self.rank, *weight.flatten(1).shape)
            parametrize.register_parametrization(layer.module, layer.weight, LowRank(weight, rank, self.alpha))
            if rank < self.rank:
                capped.setdefault(rank, []).append(path)
        return [
            f"LoRA: rank {rank} instead of {self.rank} in {len(paths)} weights whose smaller side is {rank} "
            f"({join_names(paths, 2)})"
            for rank, paths in sorted(capped.items())
        ]

    def _check_globs(self, layers: Mapping[str, WeightedLayer]) -> None:
        for glob in self.where:
            if not fnmatch.filter(layers, glob):
                raise RequestError(
                    f"strategy.where: {glob!r} matches no convolution or linear layer of the backbone. "
                    f"It has {join_names(layers)}."
                )
