"""Small modules beside the backbone's own, which learn in its place. Being no linear part of it they cannot be merged:
the kept checkpoint has them.

Each is a forward hook of the layer beside it: all names in the pretrained model stay as they are, and a copy of the
model hooks its own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.parts import Adapter
from segrun.models.segmenter import Segmenter
from segrun.transfer.adapters.lora import pretrained
from segrun.transfer.strategies.finetune import Finetune


class ConvBranch(Adapter):
    """A hook: to what the convolution makes of x (B, in, H, W), it adds s ⊙ pointwise(ReLU(depthwise(x)))."""

    def __init__(self, conv: nn.Conv2d, reduction: int) -> None:
        super().__init__()
        width = max(1, conv.in_channels // reduction)
        self.depthwise = nn.Conv2d(
            conv.in_channels,
            width,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
            _pair(conv.dilation),
            groups=math.gcd(conv.in_channels, width),
            bias=False,
        )
        self.pointwise = nn.Conv2d(width, conv.out_channels, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(conv.out_channels))
        nn.init.zeros_(self.pointwise.weight)
        self.to(conv.weight)

    def forward(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        hidden = F.relu(self.depthwise(self._padded(inputs[0], output)))
        # the scale goes into the kernel: it is the same product, and autocast sees a convolution
        return output + F.conv2d(hidden, self.scale.view(-1, 1, 1, 1) * self.pointwise.weight)

    def _padded(self, images: Tensor, output: Tensor) -> Tensor:
        """timm's `Same` convolutions pad by the image's size: here by as much, where the output shows it."""
        conv = self.depthwise
        if conv.padding != (0, 0):
            return images
        sides = zip(images.shape[2:], output.shape[2:], conv.kernel_size, conv.stride, conv.dilation, strict=True)
        short = [max(0, (after - 1) * s + (k - 1) * d + 1 - before) for before, after, k, s, d in sides]
        return F.pad(images, [n for side in reversed(short) for n in (side // 2, side - side // 2)])


class MLPBranch(Adapter):
    """A hook: to what the MLP makes of x (…, C), it adds s · W_up ReLU(W_down x)."""

    def __init__(self, like: nn.Linear, bottleneck: int, scale: float) -> None:
        super().__init__()
        self.down = nn.Linear(like.in_features, bottleneck)
        self.up = nn.Linear(bottleneck, like.in_features)
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)
        self.to(like.weight)

    def forward(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        added: Tensor = self.up(F.relu(self.down(inputs[0])))  # a network may give its MLP the map's size, too
        return output + self.scale * added


class ConvAdapter(Finetune):
    """Beside each convolution larger than 1×1 a small one, "conv parallel": y = conv(x) + s ⊙ pointwise(ReLU(
    depthwise(x))), the depthwise kernel as large as the convolution's, 1/`reduction` as wide as its input
    (Chen et al., arXiv 2208.07463).

    s starts at 1, as theirs; the pointwise kernel starts at 0, so that the start is the pretrained model.

    Raises:
        RequestError: reduction below 1; in `adapt`: no such convolution.
    """

    def __init__(self, reduction: int, backbone_lr: float) -> None:
        super().__init__(backbone_lr, kinds=("adapter",), statistics=False)
        if reduction < 1:
            raise RequestError(f"strategy.reduction={reduction}: at least 1; 4 is usual.")
        self.reduction = reduction

    def adapt(self, model: Segmenter) -> list[str]:
        convs = [m for _, m in pretrained(model.backbone) if isinstance(m, nn.Conv2d) and max(_pair(m.kernel_size)) > 1]
        if not convs:
            raise RequestError("strategy=conv_adapter: the backbone has no convolution beyond 1×1. Use strategy=lora.")
        for conv in convs:
            conv.adapter = ConvBranch(conv, self.reduction)
            conv.register_forward_hook(conv.adapter)
        return [f"adapters stand beside {len(convs)} convolutions"]


class AdaptFormer(Finetune):
    """Beside each transformer block's MLP a bottleneck: x + MLP(LN x) + s · W_up ReLU(W_down LN x), with W_up zero at
    the start (Chen et al., NeurIPS 2022).

    That is the paper's equation; their published code gives the bottleneck x instead of LN x. It is added to what the
    MLP gives: a layer scale, drop path or norm that a network has behind its MLP (DINOv2, Swin V2) acts on both.

    Raises:
        RequestError: bottleneck below 1, scale not above 0; in `adapt`: a backbone without transformer blocks.
    """

    def __init__(self, bottleneck: int, scale: float, backbone_lr: float) -> None:
        super().__init__(backbone_lr, kinds=("adapter",), statistics=False)
        if bottleneck < 1:
            raise RequestError(f"strategy.bottleneck={bottleneck}: at least 1; 64 is usual.")
        if scale <= 0:
            raise RequestError(f"strategy.scale={scale}: above 0; 0.1 is usual.")
        self.bottleneck, self.scale = bottleneck, scale

    def adapt(self, model: Segmenter) -> list[str]:
        found = [(block, mlp) for _, block in pretrained(model.backbone) if (mlp := _mlp(block)) is not None]
        if not found:
            raise RequestError(
                "strategy=adaptformer needs transformer blocks, and this backbone has none. "
                "Use strategy=lora or strategy=conv_adapter, or a transformer such as backbone=vit_b_16."
            )
        for block, mlp in found:
            first = next(m for m in mlp.modules() if isinstance(m, nn.Linear))
            # the block's, not the MLP's: torchvision's is a sequence, and would run it
            block.adapter = MLPBranch(first, self.bottleneck, self.scale)
            mlp.register_forward_hook(block.adapter)
        return [f"adapters stand beside {len(found)} blocks' MLPs"]


def _mlp(block: nn.Module) -> nn.Module | None:
    """torchvision and timm call it mlp and its neighbour attn or attention; a ConvNeXt's has no such neighbour."""
    names = [name for name, _ in block.named_children()]
    mlp: nn.Module | None = getattr(block, "mlp", None)
    if mlp is None or not any("attn" in name or "attention" in name for name in names):
        return None
    return mlp if any(isinstance(m, nn.Linear) for m in mlp.modules()) else None


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]
