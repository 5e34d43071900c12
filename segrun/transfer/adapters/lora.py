"""Small additions to the weights, which learn in the backbone's place and are merged into it for the checkpoint that
is kept. They act on weights, so stride, padding, dilation and groups are right whatever they are."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from segrun.errors import RequestError, join_names
from segrun.models.backbones.backbone import Backbone
from segrun.models.parts import NORMS, Adapter
from segrun.models.segmenter import Segmenter
from segrun.transfer.strategies.finetune import Finetune


class LowRank(Adapter):
    """W (out, in/groups, …) → W + scale · BA, with B (out, rank) zero at the start and A (rank, in/groups · …)."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.scale = alpha / rank
        self.A = nn.Parameter(matrix.new_empty(rank, matrix.shape[1]))
        self.B = nn.Parameter(matrix.new_zeros(len(matrix), rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        device = "cpu" if weight.is_meta else weight.device.type
        with torch.autocast(device, enabled=False):  # so that what is merged is what has learnt
            return weight + (self.B @ self.A).view(weight.shape) * self.scale


class Scale(Adapter):
    """W (out, …) → γ ⊙ W, a number an output."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(weight.new_empty(len(weight)).normal_(1, 0.02))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gamma.view(-1, *[1] * (weight.ndim - 1))


class Shift(Adapter):
    """b (out) → γ ⊙ b + β, γ being the weight's."""

    def __init__(self, bias: Tensor, scale: Scale) -> None:
        super().__init__()
        self.beta = nn.Parameter(bias.new_empty(len(bias)).normal_(0, 0.02))
        self.scale = (scale,)  # in a tuple it is no child: γ has one name, and is copied along all the same

    def forward(self, bias: Tensor) -> Tensor:
        return bias * self.scale[0].gamma + self.beta


class Merged(Finetune):
    """The backbone's adapters and the heads learn; for the kept checkpoint the adapters are merged into the weights."""

    def __init__(self, backbone_lr: float) -> None:
        super().__init__(backbone_lr, kinds=("adapter",), statistics=False)

    def export(self, model: Segmenter) -> None:
        """The same function, and the plain model's parameter names again."""
        found: list[Any] = [m for m in model.backbone.modules() if parametrize.is_parametrized(m)]
        for module in found:
            _merge(module)


class LoRA(Merged):
    """Low-rank updates of convolutions and linear layers: W + (α/r) BA (Hu et al., ICLR 2022).

    A kernel (out, in/groups, kh, kw) is taken as one matrix (out) × (in/groups · kh · kw), a row an output channel. So
    BA is never torn apart at group borders: the groups' rows share A, where an A for each group would cost groups
    times as much. r is `rank`, or the matrix's smaller side where that is less (9 for a depthwise 3×3 kernel), and
    α/r is of each layer's own r.

    where: globs over the paths of layers in the backbone; what is fresh there learns in full and is left alone.

    Raises:
        RequestError: rank below 1, alpha not above 0; in `adapt`: a glob that matches no layer.
    """

    def __init__(self, rank: int, alpha: float, where: Sequence[str], backbone_lr: float) -> None:
        super().__init__(backbone_lr)
        if rank < 1:
            raise RequestError(f"strategy.rank={rank}: at least 1; 4 to 16 is usual.")
        if alpha <= 0:
            raise RequestError(f"strategy.alpha={alpha}: above 0; a value near strategy.rank is usual.")
        self.rank, self.alpha = rank, alpha
        self.where = [where] if isinstance(where, str) else list(where)

    def adapt(self, model: Segmenter) -> list[str]:
        layers = {found[0]: found for found in _layers(model.backbone, MULTIPLY)}
        for glob in self.where or [""]:
            if not fnmatch.filter(layers, glob):
                raise RequestError(
                    f"strategy.where: {glob!r} matches no convolution or linear layer of the backbone. "
                    f"Those there are: {join_names(layers)}."
                )
        capped: dict[int, list[str]] = {}
        for path, layer, weight, _ in layers.values():
            if any(fnmatch.fnmatchcase(path, glob) for glob in self.where):
                values = getattr(layer, weight)
                rank = min(self.rank, *values.flatten(1).shape)
                parametrize.register_parametrization(layer, weight, LowRank(values, rank, self.alpha))
                if rank < self.rank:
                    capped.setdefault(rank, []).append(path)
        return [
            f"LoRA: rank capped at {rank} of {self.rank} in {len(paths)} weights whose smaller side that is "
            f"({join_names(paths, 2)})"
            for rank, paths in sorted(capped.items())
        ]


class SSF(Merged):
    """A learnt scale and shift after each operation: γ ⊙ x + β, with γ ~ N(1, 0.02) and β ~ N(0, 0.02), so that the
    start is near the pretrained model, not equal to it (Lian et al., NeurIPS 2022).

    Learnt on the weights, γ ⊙ W and γ ⊙ b + β, of convolutions, linear layers and norms, which is the same function.
    A layer without bias gets the scale alone: the norm that follows a convolution without bias has a shift of its own,
    which can be all that the convolution's would be.
    """

    def adapt(self, model: Segmenter) -> list[str]:
        for _, layer, weight, bias in list(_layers(model.backbone, (*MULTIPLY, *NORMS))):
            scale = Scale(getattr(layer, weight))
            parametrize.register_parametrization(layer, weight, scale)
            if getattr(layer, bias, None) is not None:
                parametrize.register_parametrization(layer, bias, Shift(getattr(layer, bias), scale))
        return []


def _merge(module: Any) -> None:
    """In place of torch's remove_parametrizations, which takes the properties off the module's class: a copied model
    has the same class, and would lose its weights with them."""
    merged = {name: getattr(module, name).detach() for name in module.parametrizations}
    originals = {name: held.original for name, held in module.parametrizations.items()}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, original in originals.items():
        original.data.copy_(merged[name])
        module.register_parameter(name, original)


MULTIPLY = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


def _layers(backbone: Backbone, types: tuple[type[nn.Module], ...]) -> Iterator[tuple[str, nn.Module, str, str]]:
    """Path, layer and the names of its weight and bias, of the pretrained layers of these types that have a weight.
    An attention's output is a linear layer of its own."""
    for path, module in pretrained(backbone):
        prefix = "in_proj_" if isinstance(module, nn.MultiheadAttention) else ""
        if isinstance(module, types) and getattr(module, f"{prefix}weight", None) is not None:
            yield path, module, f"{prefix}weight", f"{prefix}bias"


def pretrained(backbone: Backbone) -> list[tuple[str, nn.Module]]:
    """The backbone's modules and their paths, without what is fresh in it."""
    fresh = [path for paths in backbone.fresh.values() for path in paths]
    return [
        (name, module)
        for name, module in backbone.named_modules()
        if not any(name == path or name.startswith(f"{path}.") for path in fresh)
    ]
