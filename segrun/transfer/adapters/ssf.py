"""SSF: scaling and shifting of frozen features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from segrun.models.parts import NORMS, Adapter
from segrun.models.segmenter import Segmenter
from segrun.transfer.adapters.layers import MATMUL_LAYERS, weighted_layers
from segrun.transfer.adapters.merging import MergedAdapters


class Scale(Adapter):
    """W (out, …) → γ ⊙ W, one γ per output channel, γ ~ N(1, 0.02) at the start."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(weight.new_empty(len(weight)).normal_(1, 0.02))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gamma.view(-1, *[1] * (weight.ndim - 1))


class Shift(Adapter):
    """b (out) → γ ⊙ b + β, where γ is that of the weight and β ~ N(0, 0.02) at the start."""

    def __init__(self, bias: Tensor, scale: Scale) -> None:
        super().__init__()
        self.beta = nn.Parameter(bias.new_empty(len(bias)).normal_(0, 0.02))
        self.scale = (scale,)  # in a tuple it is no submodule: γ has one name, and deepcopy still copies it along

    def forward(self, bias: Tensor) -> Tensor:
        return bias * self.scale[0].gamma + self.beta


class SSF(MergedAdapters):
    """A trained scale and shift after each operation: γ ⊙ x + β, with γ ~ N(1, 0.02) and β ~ N(0, 0.02).

    Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS 2022. The start
    is near the pretrained model, not equal to it.

    It is computed on the weights, γ ⊙ W and γ ⊙ b + β, of convolutions, linear layers and norms, which is the same
    function. A layer without bias gets the scale alone: the norm after a convolution without bias has a shift, which
    can represent all that a shift of the convolution could.
    """

    def adapt(self, model: Segmenter) -> list[str]:
        for layer in list(weighted_layers(model.backbone, (*MATMUL_LAYERS, *NORMS))):
            module = layer.module
            scale = Scale(getattr(module, layer.weight))
            parametrize.register_parametrization(module, layer.weight, scale)
            bias: Tensor | None = getattr(module, layer.bias, None)
            if bias is not None:
                parametrize.register_parametrization(module, layer.bias, Shift(bias, scale))
        return []
