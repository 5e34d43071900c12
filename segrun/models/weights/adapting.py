"""Pretrained tensors for images of another number of channels or another size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def input_kernel(module: nn.Module) -> str | None:
    """The name of the first convolution's weight; None for a module without convolutions."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            return f"{name}.weight"
    return None


def set_in_channels(module: nn.Module, channels: int) -> None:
    """Let the module's first convolution take images of `channels`, by folding its kernel."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            if part.in_channels != channels:
                part.in_channels = channels
                part.weight = nn.Parameter(fold_channels(part.weight.detach(), channels))
            return


def fold_channels(kernel: Tensor, channels: int) -> Tensor:
    """A first kernel for images of another number of channels.

    The convolution's output stays the same where all (normalised) channels of an image are equal. With fewer channels,
    kernel channels i, i + channels, i + 2 · channels, … are summed (RGB to one channel: the sum over the colours). With
    more, the kernel's channels are repeated in turn and each is divided by the number of its copies.

    Args:
        kernel: (outputs, C, h, w).
        channels: The images' channels.

    Returns:
        (outputs, channels, h, w).
    """
    given = kernel.shape[1]
    if channels < given:
        folded = kernel.new_zeros(kernel.shape[0], channels, *kernel.shape[2:])
        return folded.index_add_(1, torch.arange(given, device=kernel.device) % channels, kernel)
    sources = [index % given for index in range(channels)]
    copies = torch.tensor([sources.count(source) for source in sources], device=kernel.device)
    return kernel[:, torch.tensor(sources, device=kernel.device)] / copies.view(1, -1, 1, 1)


def fold_statistics(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Means or standard deviations per channel for images of another number of channels.

    As in `fold_channels`: repeated in turn, or averaged over the channels that are summed there.
    """
    groups = [values[index::channels] for index in range(min(channels, len(values)))]
    averages = [sum(group) / len(group) for group in groups]
    return tuple(averages[index % len(groups)] for index in range(channels))


def resampled_square(positions: Tensor, shape: Sequence[int]) -> Tensor | None:
    """Position embeddings of a square grid, resampled to another square grid.

    Args:
        positions: (1, extra + side², C), where the extra tokens are class tokens, which are kept.
        shape: The shape to reach, (1, extra + other side², C).

    Returns:
        The resampled embeddings; None where one of the shapes is no square grid, or C differs.
    """
    if len(shape) != 3 or positions.shape[2] != shape[2]:
        return None
    for extra in (1, 0, 2, 5):  # a class token; none; with a distillation token; with four registers
        side = _square_side(shape[1] - extra)
        if side is not None and _square_side(positions.shape[1] - extra) is not None:
            return resampled_positions(positions, (side, side), extra)
    return None


def _square_side(tokens: int) -> int | None:
    """The side of a square of so many tokens; None where they make no square."""
    if tokens < 1:
        return None
    side = math.isqrt(tokens)
    return side if side * side == tokens else None


def resampled_positions(positions: Tensor, grid: tuple[int, int], extra: int) -> Tensor:
    """Position embeddings of a square grid at another grid, bicubic (Dosovitskiy et al., ICLR 2021).

    Args:
        positions: (1, extra + side², C).
        grid: Height and width to reach, in tokens.
        extra: How many tokens at the front belong to no position.

    Returns:
        (1, extra + height · width, C).
    """
    tokens = positions[:, extra:]
    side = math.isqrt(tokens.shape[1])
    if (side, side) == tuple(grid):
        return positions
    square = tokens.transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(square.float(), grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat((positions[:, :extra], resized.to(tokens.dtype).flatten(2).transpose(1, 2)), 1)
