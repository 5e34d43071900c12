"""AdaptFormer: a bottleneck beside the MLP of each transformer block.

The branch is a forward hook of the MLP, so that all names in the pretrained model stay the same and a copy of the
model has hooks of its own.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.parts import Adapter
from segrun.models.segmenter import Segmenter
from segrun.ranges import LRMultiplier, PositiveFloat, PositiveInt
from segrun.transfer.adapters.layers import pretrained_modules
from segrun.transfer.strategies.finetune import Finetune


class MLPBranch(Adapter):
    """A forward hook that adds scale · W_up ReLU(W_down x) to the output of an MLP of x (…, C).

    Args:
        like: The first linear layer of the MLP.
        bottleneck: Channels between W_down and W_up.
        scale: Factor on the branch.
    """

    def __init__(self, like: nn.Linear, bottleneck: int, scale: float) -> None:
        super().__init__()
        self.down = nn.Linear(like.in_features, bottleneck)
        self.up = nn.Linear(bottleneck, like.in_features)
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)
        self.to(like.weight)

    def forward(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        branch: Tensor = self.up(F.relu(self.down(inputs[0])))  # an MLP may have further inputs, such as the map's size
        return output + self.scale * branch


class AdaptFormer(Finetune):
    """A bottleneck beside the MLP of each transformer block: x + MLP(LN x) + s · W_up ReLU(W_down LN x).

    Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", NeurIPS 2022. W_up is zero
    at the start. This is the paper's equation; the published code gives the bottleneck x instead of LN x. The branch is
    added to the output of the MLP, so a layer scale, drop path or norm after the MLP (DINOv2, Swin V2) acts on both.

    Args:
        bottleneck: Channels of the bottleneck; 64 is usual.
        scale: s; 0.1 is usual.
        backbone_lr: LR multiplier of the adapters.
    """

    def __init__(self, bottleneck: PositiveInt, scale: PositiveFloat, backbone_lr: LRMultiplier) -> None:
        super().__init__(backbone_lr, kinds=("adapter",), statistics=False)
        self.bottleneck = bottleneck
        self.scale = scale

    def adapt(self, model: Segmenter) -> list[str]:
        """See `Strategy.adapt`.

        Raises:
            RequestError: The backbone has no transformer blocks.
        """
        blocks = _blocks_with_mlp(model.backbone)
        if not blocks:
            raise RequestError(
                "strategy=adaptformer needs transformer blocks, and this backbone has none. "
                "Use strategy=lora or strategy=conv_adapter, or a transformer such as backbone=vit_b_16."
            )
        for block, mlp in blocks:
            first_linear = next(module for module in mlp.modules() if isinstance(module, nn.Linear))
            # a child of the block, not of the MLP: torchvision's MLP is a Sequential, which would call it
            block.adapter = MLPBranch(first_linear, self.bottleneck, self.scale)
            mlp.register_forward_hook(block.adapter)
        return [f"adaptformer: adapters beside the MLPs of {len(blocks)} blocks"]


def _blocks_with_mlp(backbone: Backbone) -> list[tuple[nn.Module, nn.Module]]:
    """The pretrained transformer blocks and their MLPs."""
    blocks = []
    for _, module in pretrained_modules(backbone):
        mlp = _mlp(module)
        if mlp is not None:
            blocks.append((module, mlp))
    return blocks


def _mlp(block: nn.Module) -> nn.Module | None:
    """The MLP of a transformer block; None for another module.

    torchvision and timm name it mlp, beside attn or attention. The MLP of a ConvNeXt block has no such sibling.
    """
    names = [name for name, _ in block.named_children()]
    mlp: nn.Module | None = getattr(block, "mlp", None)
    if mlp is None or not any("attn" in name or "attention" in name for name in names):
        return None
    return mlp if any(isinstance(module, nn.Linear) for module in mlp.modules()) else None
