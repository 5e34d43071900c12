"""Pretrained tensors for images of other channels and other sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError


def input_kernel(module: nn.Module) -> str | None:
    """The name of the first convolution's weight."""
    first = next((name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)), None)
    return None if first is None else f"{first}.weight"


def with_channels(module: nn.Module, channels: int) -> None:
    """Give the module a first convolution that takes `channels`, with new weights until some are loaded."""
    if channels < 1:
        raise RequestError(f"backbone.in_channels={channels}: at least 1.")
    name = input_kernel(module)
    first = module.get_submodule((name or "").removesuffix(".weight"))
    assert isinstance(first, nn.Conv2d)
    if channels != first.in_channels:
        first.in_channels = channels
        first.weight = nn.Parameter(fold_channels(first.weight.detach(), channels))


def fold_channels(kernel: Tensor, channels: int) -> Tensor:
    """(O, C, h, w) → (O, channels, h, w) with the same answer where all (normalised) channels are equal.

    Fewer channels: those that fall together, in turns, are summed (RGB to one: summed over the colours). More: the
    given ones are taken in turns and each is shared out among its copies.
    """
    given = kernel.shape[1]
    if channels < given:
        folded = kernel.new_zeros(kernel.shape[0], channels, *kernel.shape[2:])
        return folded.index_add_(1, torch.arange(given, device=kernel.device) % channels, kernel)
    place = torch.arange(channels, device=kernel.device) % given
    copies = torch.bincount(place, minlength=given)[place] if not kernel.is_meta else place + 1
    return kernel[:, place] / copies.view(1, -1, 1, 1)


def fold_statistics(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Means or deviations a channel, in the way of `fold_channels`: cycled, or averaged where they fall together."""
    groups = [values[place::channels] for place in range(min(channels, len(values)))]
    return tuple(sum(group) / len(group) for group in (groups[i % len(groups)] for i in range(channels)))


def resampled_square(positions: Tensor, shape: Sequence[int]) -> Tensor | None:
    """(1, tokens, C) position embeddings on a square grid → those of another square grid, class tokens kept; None where
    that is not what they are."""
    counts = (positions.shape[1], shape[1])
    for extra in (1, 0, 2, 5):  # class token, distillation token, registers
        sides = [math.isqrt(max(0, tokens - extra)) for tokens in counts]
        squares = all(s and s * s + extra == tokens for s, tokens in zip(sides, counts, strict=True))
        if squares and positions.shape[2] == shape[2]:
            return resampled_positions(positions, (sides[1], sides[1]), extra)
    return None


def resampled_positions(positions: Tensor, grid: tuple[int, int], extra: int) -> Tensor:
    """(1, extra + side², C) → (1, extra + height·width, C), bicubic (Dosovitskiy et al., ICLR 2021)."""
    tokens = positions[:, extra:]
    side = math.isqrt(tokens.shape[1])
    if (side, side) == tuple(grid):
        return positions
    square = tokens.transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(square.float(), grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat((positions[:, :extra], resized.to(tokens.dtype).flatten(2).transpose(1, 2)), 1)
